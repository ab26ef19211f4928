"""The tests: unit/ of one module each, end_to_end/ of whole programs, torture/ breaks things."""

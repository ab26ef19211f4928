"""The tests: unit/ of one module each, end_to_end/ of whole programs, torture/ breaks things."""

from tests.support.without import take_away, taken_away

# Before anything imports what a test is about: it finds what it would find on another system.
take_away(taken_away())

"""What applications are told by type checkers."""

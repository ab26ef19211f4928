"""Tests that break things on purpose, each a command: ``python -m tests.torture NAME``."""

"""Tests that break things on purpose, each a command: ``python -m torture NAME``."""

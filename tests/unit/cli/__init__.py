"""Tests of pyzdb.cli."""

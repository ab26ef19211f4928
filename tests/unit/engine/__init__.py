"""Tests of pyzdb.engine."""

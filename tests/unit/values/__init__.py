"""Tests of pyzdb.values."""

"""Tests of pyzdb.protocol."""

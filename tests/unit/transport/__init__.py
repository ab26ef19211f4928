"""Tests of pyzdb.transport."""

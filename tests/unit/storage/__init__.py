"""Tests of pyzdb.storage."""

"""Tests of pyzdb.operations."""

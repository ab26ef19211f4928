"""Tests of pyzdb.proxy."""

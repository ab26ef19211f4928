"""Tests of pyzdb.server."""

"""Tests of pyzdb.client."""

"""Tests of one module each, in folders as the package has them."""

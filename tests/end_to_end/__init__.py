"""Tests of the programs as a user starts them, with real processes and sockets."""

"""Lazy paths, which record what to ask for."""

"""One tree of dicts and lists in a server, read and written by clients with Python syntax."""

__version__ = "0.1.0"

"""One tree of dicts and lists in a server, read and written by clients with Python syntax.

Applications begin with `from pyzdb.client import client`. That function is not here as well: its
name is that of its module.
"""

from pyzdb.values import File, register

__all__ = ["File", "__version__", "register"]

__version__ = "0.1.0"

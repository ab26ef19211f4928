"""One tree of dicts and lists in a server, read and written by clients with Python syntax.

Applications begin with `from pyzdb.client import client`. `from pyzdb import client` gives the
module of that name, which can be called as the function.
"""

from pyzdb.values import File, register

__all__ = ["File", "__version__", "register"]

__version__ = "0.1.0"

"""One tree of dicts and lists in a server, read and written by clients with Python syntax.

Applications begin with `from pyzdb.client import client`, or with `from pyzdb import client`, which
gives the module of that name: it can be called as the function. ZeroMQ is loaded with it, and not
before.
"""

from typing import TYPE_CHECKING

from pyzdb.errors import PyzdbError
from pyzdb.values import File, register

if TYPE_CHECKING:
    from pyzdb.client import CallableModule

    client: CallableModule

__all__ = ["File", "PyzdbError", "__version__", "client", "register"]

__version__ = "0.2.0"

if not TYPE_CHECKING:  # checkers would take it for a word that there is an attribute of any name

    def __getattr__(name: str) -> object:
        if name == "client":
            from importlib import import_module

            return import_module("pyzdb.client")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The client: `db, connection = client()`."""

import sys
from types import ModuleType
from typing import Any

from pyzdb.client.connection import Connection, client

__all__ = ["Connection", "client"]


class _CallableModule(ModuleType):
    """`from pyzdb import client` gives this module, which can be called as its function."""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Connection]:
        return client(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

"""The client: `db, connection = client()`."""

import sys
from types import ModuleType
from typing import TypeAlias

from pyzdb.client.connection import DEFAULT_TIMEOUT, DEFAULT_URI, Connection, client
from pyzdb.proxy.path import Proxy
from pyzdb.proxy.root import Root

__all__ = ["Connection", "Proxy", "Root", "client"]

_Connection: TypeAlias = Connection


class CallableModule(ModuleType):
    """`from pyzdb import client` gives this module, which can be called as its function."""

    # What the module holds, for type checkers, which do not see that it is one.
    Connection: type[_Connection]
    client = staticmethod(client)

    def __call__(
        self,
        write_uri: str = DEFAULT_URI,
        read_uri: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> tuple[Root, _Connection]:
        return client(write_uri, read_uri, timeout=timeout)


sys.modules[__name__].__class__ = CallableModule

"""What each mode of a request does to a database: one table."""

from __future__ import annotations

from collections.abc import Callable

from pyzdb.engine.execution import Execution
from pyzdb.engine.locking import Locking
from pyzdb.protocol.replies import Reply
from pyzdb.protocol.requests import MODES, Envelope, Request

Handler = Callable[[Envelope], Reply | bytes]
"""Does what a request asks for; the bytes are the answer to a commit."""


def handlers_of(execution: Execution, locking: Locking) -> dict[type[Request], Handler]:
    """The handler of each request and of each record."""
    table: dict[str, Handler] = {
        "read": execution.call,
        "write": execution.call,
        "batch": execution.batch,
        "exec": execution.exec,
        "readall": execution.read_all,
        "hello": execution.hello,
        "lock": locking.take,
        "unlock": locking.give_back,
        "configure": execution.set_limit,
        "renew": locking.renew,
    }
    return {
        kind: table[name]
        for name, mode in MODES.items()
        for kind in (mode.request, mode.record)
        if kind is not None
    }

"""A database to ask in a test as a server would be asked, in memory and on the disk.

A test that takes the fixture `start` or `engine` runs on both. The time is the test's own: it
stands still until the test moves it.
"""

from __future__ import annotations

import json
import select
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyzdb.engine.database import Database
from pyzdb.protocol.commands import Command, Get
from pyzdb.protocol.replies import WireReply, decode_reply
from pyzdb.protocol.requests import MODES, Envelope, Request, encode_request
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.store import Store

LIMIT = 60.0
"""Seconds within which a save ends, however busy the machine is."""

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp()


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Engine:
    """A database and what a server does around it. ``options`` are those of the database."""

    def __init__(self, store: Store, path: Path | None = None, **options: Any) -> None:
        self.wall = Clock(NOON)
        self.monotonic = Clock(1000.0)
        self.options = options
        self.store = store
        self.path = path
        self.notes = self._open()

    def _open(self) -> list[str]:
        self.db: Any = Database(
            self.store, clock=self.wall, monotonic=self.monotonic, **self.options
        )
        return self.db.open()

    def pass_seconds(self, seconds: float) -> None:
        self.wall.now += seconds
        self.monotonic.now += seconds

    def send(self, request: Request, on_lock_socket: bool = False) -> bytes | Envelope:
        """The bytes of the answer, all that it shows being durable."""
        answer: bytes | Envelope = self.db.handle(encode_request(request), on_lock_socket)
        self.db.flush()
        return answer

    def ask(self, mode: str = "write", on_lock_socket: bool = False, **fields: Any) -> WireReply:
        """The reply to a request of version 2, whatever it says."""
        if mode in ("read", "write"):
            fields.setdefault("index", ())
        kind = MODES[mode].request
        assert kind is not None
        return self.reply(kind(version=2, **fields), on_lock_socket)

    def reply(self, request: Request, on_lock_socket: bool = False) -> WireReply:
        answer = self.send(request, on_lock_socket)
        assert isinstance(answer, bytes)
        return decode_reply(answer)

    def get(self, mode: str = "write", on_lock_socket: bool = False, **fields: Any) -> Any:
        """The value of the reply; its error is raised."""
        reply = self.ask(mode, on_lock_socket, **fields)
        assert reply.wait is None
        if reply.error is not None:
            raise reply.error
        return reply.value

    def call(self, func: str | None, *args: Any, at: tuple[Any, ...] = (), **fields: Any) -> Any:
        """Call a function at a path."""
        return self.get("write", index=at, func=func, args=args, **fields)

    def put(self, key: Any, value: Any, **fields: Any) -> Any:
        return self.call("__setitem__", key, value, **fields)

    def batch(self, *commands: Command | Get, **fields: Any) -> Any:
        return self.get("batch", commands=commands, **fields)

    def old(self, on_lock_socket: bool = False, **fields: Any) -> Any:
        """The JSON that a client of version 1 gets; its Envelope when it has to wait."""
        answer = self.db.handle(json.dumps(fields).encode(), on_lock_socket)
        self.db.flush()
        return json.loads(answer) if isinstance(answer, bytes) else answer

    @property
    def tree(self) -> Any:
        return self.get("readall")

    def restart(self, **options: Any) -> None:
        """End the database as a kill does after its last answer, and open it again."""
        self.store.close()
        self.options |= options
        if self.path is not None:
            self.store = FileStore(self.path)
        self._open()

    def finish_save(self) -> None:
        """Wait until the running save has ended, as a server waits."""
        assert self.db.save_fd is not None
        assert select.select([self.db.save_fd], [], [], LIMIT)[0]
        self.db.finish_save()

    def save(self) -> None:
        """`db.save()`, as a client that comes back with its ticket."""
        reply = self.ask(func="save")
        while reply.wait == "saving":
            self.finish_save()
            reply = self.ask(func="save", ticket=reply.ticket)
        if reply.error is not None:
            raise reply.error


Start = Callable[..., Engine]
"""The fixture `start`."""


def everything(engine: Engine) -> str:
    """What a snapshot of a database would hold, in a form that shows types and order."""
    return repr(engine.db.state())

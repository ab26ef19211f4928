"""Requests of every kind, drawn at random, and handed to a database without a network.

The tree stays small, so that a test can look at all of it after every step, and its paths are
drawn from what is there, so that most of the requests succeed. Some are meant to fail.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from pyzdb.engine.database import Database
from pyzdb.protocol.commands import Command
from pyzdb.protocol.leases import MAX_LEASE
from pyzdb.protocol.requests import (
    Batch,
    Exec,
    GiveLockBack,
    Read,
    Request,
    TakeLock,
    Write,
    encode_request,
)
from pyzdb.storage.disk import Disk
from pyzdb.values import File
from pyzdb.values.zones import kept
from tests.torture.ledger import content_of

KEYS = ("a", "b", "c", "d", "with a space", "ключ")
"""The keys of every dict: so few that most of them are there."""

CLIENTS = 3

MOST_STEPS = 20
"""Steps that the databases of the tests keep in their history: few, as every look compares them
all."""

LONGEST_LIST = 12
"""Items from which on a list is cut before anything else is done to it."""

DEEPEST = 4
"""Keys of the longest path that is drawn."""

SIZES = (0, 1, 10, 100, 100, 600, 1500)
"""Characters of texts: a record may lie in one sector or in several."""

LARGE_TEXT = ',[{"\\:}]'
"""What large texts are made of: all that stands between the values of a message."""

LARGE_SIZES = (500, 1500, 5000)
"""How often it is in them: the size of some is told by a look at their message, that of others by
a look at the value."""

QUIET_SOURCES = (
    "print(1)",
    "db['e'] = 2; raise ValueError('no')",
    "if 'a' in db: db.setdefault('a', (1, 2))",
    "if 'a' in db: db.update({})",
    """
try:
    with db.batch() as batch:
        batch['e'] = (1, 2)
        batch['not there'].append(1)
except KeyError:
    print('refused')
""",
)
"""What is run in the server and changes nothing in the end."""

SOURCES = (
    *QUIET_SOURCES,
    "db['e'] = 1; print('done')",
    "db['e'] = [1]; db['e'].append(2)",
    "import random; db['e'] = random.random()",
    "db['e'] = {'k': (1, 2)}; db['e'].clear()",
    f"db['e'] = {LARGE_TEXT!r} * 1500",
    "db['e'] = {'k': ',' * 5000, 'l': [[1]] * 100}; db['e']['l'] *= 2",
)
"""What is run in the server: of some of these nobody could tell a second time what they did."""

LARGE_SHARE = 0.15
"""The share of large values where there are any."""

IMPATIENT = 0.1
"""The share of requests that others send while one client holds the lock."""


@dataclass(eq=False)
class _Client:
    name: str
    number: int = 0
    last: bytes = b""


class Workload:
    """Clients of a ``database``, which may be exchanged. Files are taken from the folder
    ``incoming`` on the ``disk``; some values are ``large`` (bool), and all are of plain JSON
    types where ``plain`` (bool) is set."""

    def __init__(
        self,
        random: Random,
        database: Database,
        disk: Disk,
        incoming: str,
        large: bool = False,
    ) -> None:
        self.random = random
        self.database = database
        self.disk = disk
        self._incoming = incoming
        self._large = large
        self.plain = False
        self._files = 0
        prefix = f"{random.randrange(1 << 32):08x}"
        self._clients = [_Client(f"client {prefix}-{number}") for number in range(CLIENTS)]
        self._holder: _Client | None = None

    def step(self) -> None:
        """Do a request of a kind that is drawn."""
        kinds = KINDS if self.database.lock.held is None else (*KINDS, *["unlock"] * 4)
        self.do(self.random.choice(kinds))

    def do(self, kind: str) -> None:
        """Do a request of one of the KINDS."""
        getattr(self, f"_{kind}")()

    # --- the kinds -------------------------------------------------------------------------

    def set(self) -> None:
        """Write a value at the root; it does not fail."""
        self._ask(Write((), "__setitem__", (self._key(), self._value()), version=2))

    _set = set

    def _change(self) -> None:
        command = self._command()
        self._ask(Write(*self._fields(command), version=2))

    def _batch(self) -> None:
        commands = tuple(self._command() for _ in range(self.random.randint(1, 4)))
        self._ask(Batch(commands=commands, version=2))

    def _old_client(self) -> None:
        if self.database.lock.held is not None:
            return  # it would be served when the lock is free, and nobody tells it to come back
        index, func, args, _ = self._fields(Command((), "__setitem__", (self._key(), 1)))
        message = {"mode": "write", "index": index, "func": func, "args": args, "kwargs": {}}
        self.database.handle(json.dumps(message).encode())

    def _undo(self) -> None:
        self._ask(Write((), "undo", (self.random.choice((1, 1, 1, 2)),), version=2))

    def _redo(self) -> None:
        self._ask(Write((), "redo", (self.random.choice((1, 1, 2)),), version=2))

    def _read(self) -> None:
        self._ask(Read((), "get", (self._key(),), version=2))

    def _fail(self) -> None:
        bad = Command(("not there",), "append", (1,))
        if self.random.random() < 0.5:
            self._ask(Write(*self._fields(bad), version=2))
        else:
            self._ask(Batch(commands=(self._command(), bad), version=2))

    def _repeat(self) -> None:
        client = self.random.choice(self._clients)
        if client.number:
            self.database.handle(client.last)

    def _exec(self) -> None:
        sources = QUIET_SOURCES if self.plain else SOURCES
        self._ask(Exec(command=self.random.choice(sources), version=2))

    def _lock(self) -> None:
        self._ask(TakeLock(lease=MAX_LEASE, version=2))

    def _unlock(self) -> None:
        self._ask(GiveLockBack(version=2))

    def _file(self) -> None:
        self.random.choice((self.send_file, self.move_file))()

    def send_file(self) -> None:
        """Store a large file that is sent along."""
        if self.plain:
            return
        name = self._file_name()
        self._store(File(None, name, content_of(name)))

    def move_file(self) -> None:
        """Store a large file that lies on the server's disk."""
        if self.plain:
            return
        name = self._file_name()
        self._store(File(self._source(name), name))

    def _store(self, file: File) -> None:
        self._ask(Write((), "__setitem__", ("file", file), version=2))

    def _file_name(self) -> str:
        self._files += 1
        return f"{self._clients[0].name}, file {self._files}"

    # --- what they are made of -------------------------------------------------------------

    def _ask(self, request: Request) -> None:
        """Let one client ask, who takes note of the number that it gave."""
        held = self.database.lock.held
        if held is None:
            self._holder = None
        elif self._holder is None:  # the lock is from before a restart
            self._holder = self._clients[0]
        client = self._holder
        if client is None or self.random.random() < IMPATIENT:
            client = self.random.choice(self._clients)
        if held is not None and client is self._holder:
            request.token = held.token
        request.client, request.number = client.name, client.number + 1
        message = encode_request(request)
        self.database.handle(message)
        known = self.database.state()["answers"]["known"].get(client.name)
        if known is not None and known[0] == request.number:
            client.number, client.last = request.number, message
        if held is None and self.database.lock.held is not None:
            self._holder = client

    def _fields(self, command: Command) -> tuple[Any, ...]:
        return command.index, command.func, command.args, command.kwargs

    def _command(self) -> Command:
        """A command for a container that is there."""
        path: list[Any] = []
        container: Any = self.database.tree.root
        while len(path) < DEEPEST and self.random.random() < 0.6:
            items = container.items() if isinstance(container, dict) else enumerate(container)
            inner = [(key, child) for key, child in items if isinstance(child, dict | list)]
            if not inner:
                break
            key, container = self.random.choice(inner)
            path.append(key)
        choices = self._of_dict() if isinstance(container, dict) else self._of_list(container)
        func, *args = self.random.choice(choices)
        return Command(tuple(path), func, tuple(args))

    def _of_dict(self) -> list[tuple[Any, ...]]:
        key, value = self._key(), self._value()
        return [
            *[("__setitem__", key, value)] * 4,
            ("__delitem__", key),
            ("setdefault", key, []),
            ("update", {key: value, self._key(): 1}),
            ("__ior__", {key: value}),
            ("pop", key, None),
            ("popitem",),
            *[("clear",)] * (self.random.random() < 0.1),
        ]

    def _of_list(self, items: list[Any]) -> list[tuple[Any, ...]]:
        if len(items) > LONGEST_LIST:
            return [("clear",), *self._cuts(2)]
        value, place = self._value(), self.random.randint(-4, 4)
        return [
            *[("append", value)] * 4,
            ("extend", [value, 1]),
            ("__iadd__", [value]),
            ("__imul__", self.random.choice((0, 1, 2))),
            ("insert", place, value),
            ("__setitem__", place, value),
            *self._cuts(place),
            ("__delitem__", place),
            ("pop",),
            ("remove", value),
            ("reverse",),
            ("sort",),
            ("clear",),
        ]

    def _cuts(self, place: int) -> list[tuple[Any, ...]]:
        """What is done to the end of a list; a slice carries a tag."""
        rest = slice(place, None)
        return [] if self.plain else [("__setitem__", rest, [self._value()]), ("__delitem__", rest)]

    def _key(self) -> str:
        return self.random.choice(KEYS)

    def _value(self) -> Any:
        draw = self.random
        if self._large and draw.random() < LARGE_SHARE:
            text = LARGE_TEXT * draw.choice(LARGE_SIZES)
            return draw.choice([text, {"a": text}, [[text, {}]] * 3, [[1]] * 1000, self._tagged()])
        return draw.choice(
            [
                draw.randint(-(1 << 50), 1 << 50),
                draw.random(),
                "é" * draw.choice(SIZES),
                "x" * draw.choice(SIZES),
                [],
                {},
                [1, [2, "three"]],
                {"a": [None, True], "b": {"c": 1.5}},
                *[self._tagged() for _ in range(3)],
            ]
        )

    def _tagged(self) -> Any:
        """A value that JSON knows nothing of, unless all are to be plain."""
        draw = self.random
        when = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=draw.randrange(1 << 30))
        zoned = kept(when, "Europe/Zurich")
        mapping = {(1, "a"): b"\0\xff", 2: Decimal("1.10"), zoned: when}
        tagged = [(1, ("a", 2.0)), mapping, when, zoned, -1 << 70]
        return 1.5 if self.plain else draw.choice(tagged)

    def _source(self, name: str) -> str:
        """Put a file where it can be taken from; it is on the disk."""
        path = os.path.join(self._incoming, name)
        fd = self.disk.create(path)
        try:
            self.disk.write(fd, content_of(name), 0)
            self.disk.sync(fd)
        finally:
            self.disk.close(fd)
        self.disk.sync_folder(self._incoming)
        return path


KINDS = (
    *["set", "change", "change", "change", "change", "batch"] * 3,
    *["undo", "undo", "redo", "old_client", "read", "fail", "repeat", "exec", "lock", "file"],
)
"""The kinds of requests, each as often as it is drawn."""

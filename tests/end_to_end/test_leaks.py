"""What is raised is let go of: no memory, no garbage and no descriptor is left of an error.

Python's collector does not watch what a request and a reply are made of, so a ring through one of
them is never found. Servers run without the collector.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyzdb.client import client
from pyzdb.engine.replica import Replica
from pyzdb.errors import PyzdbError
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import Batch, Exec, GiveLockBack, Read, Write, encode_request
from pyzdb.server.follower import Follower
from pyzdb.storage.disk import Disk
from pyzdb.storage.files import Files
from pyzdb.storage.memory import MemoryStore
from pyzdb.values import File
from tests.support.engine import Engine
from tests.support.programs import Server

TIMES = 2000
"""How often each error is met. What is kept of one takes some ten blocks of memory."""

SLACK = TIMES // 2
"""Blocks of memory by which a process may differ: caches of Python's own."""


def growth(meet: Callable[[], Any], times: int = TIMES) -> int:
    """Blocks of memory that are left when an error was met so often, without a collection."""

    def run(count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(PyzdbError):
                meet()

    run(times // 10)
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        run(times)
        grown = sys.getallocatedblocks() - before
        assert gc.collect() < times // 10, "rings are left that the collector has to find"
        return grown
    finally:
        gc.enable()


def _write(index: tuple[Any, ...], func: str, args: tuple[Any, ...] = ()) -> bytes:
    return encode_request(Write(index, func, args, client="c", number=1, version=2))


def _read(*command: Any) -> bytes:
    return encode_request(Read(*command, version=2))


MESSAGES = {
    "no JSON": b"{",
    "no request": b"[]",
    "an unknown version": b'{"version":7,"mode":"read","index":[]}',
    "a bad tag": b'{"version":2,"mode":"read","index":[{"_customtype":"int"}],"tagged":true}',
    "version 1": b'{"mode":"read","index":["no"]}',
    "too deep": b"[" * 400,
    "a missing key": _read(("no",)),
    "an index": _read(("l", 9)),
    "a type": _read((), "get", ([],)),
    "a value": _read(("l",), "index", (7,)),
    "no function": _read((), "__class__"),
    "a write": _write(("l",), "remove", (7,)),
    "undo": _write((), "undo", (9,)),
    "wrong arguments": _write((), "undo", (1, 2, 3)),
    "unlock": encode_request(GiveLockBack(version=2)),
    "a late token": encode_request(Read((), token=99, version=2)),
    "exec is off": encode_request(Exec(command="1", version=2)),
    "a batch": encode_request(Batch(commands=(Command(("no",), "pop"),), version=2)),
    "an answer that cannot be sent": _read(("b",), "decode", ("utf-8", "surrogateescape")),
    "a batch with one": encode_request(
        Batch(
            commands=(
                Command((), "__setitem__", ("x", 1)),
                Command(("b",), "decode", ("utf-8", "surrogateescape")),
            ),
            version=2,
        )
    ),
    "a file": _write((), "__setitem__", ("f", File("/etc/passwd"))),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_no_error_is_kept_by_the_engine(what: str, tmp_path: Path) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"))
    engine = Engine(MemoryStore(), files=files)
    engine.put("l", [1])
    engine.put("b", b"\xff")
    message = MESSAGES[what]

    def meet() -> None:
        engine.db.handle(message)
        engine.db.flush()

    assert growth(meet) < SLACK


def test_source_that_fails_is_not_kept() -> None:
    engine = Engine(MemoryStore(), exec=True)
    message = encode_request(Exec(command="def f(): 1 / 0\nf()", version=2))
    assert growth(lambda: (engine.db.handle(message), engine.db.flush()), 400) < SLACK


def test_a_read_only_server_keeps_nothing_of_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "db.pkl").write_bytes(b"pyzdb snapshot 1\n" + bytes(100))
    follower = Follower(Replica(), str(tmp_path / "db.pkl"))
    assert growth(follower.look, 500) < SLACK


CALLS: dict[str, Callable[[Any], Any]] = {
    "a missing key": lambda db: db["no"]._run(),
    "an index": lambda db: db["l"][9]._run(),
    "a method": lambda db: db["l"].remove(7),
    "a type": lambda db: db["l"] + 1,
    "undo": lambda db: db.undo(99),
    "what cannot be sent": lambda db: db["x"].append(object()),
    "unlock": lambda db: db.unlock(),
    "iteration": lambda db: list(db["no"]),
}


@pytest.fixture
def db(server: Server, connect: Callable[..., Any]) -> Any:
    db = connect(server.write_uri)
    db["l"] = [1]
    return db


@pytest.mark.parametrize("what", CALLS)
def test_no_error_is_kept_by_the_client(db: Any, what: str) -> None:
    assert growth(lambda: CALLS[what](db)) < SLACK


def test_no_timeout_is_kept_by_the_client() -> None:
    db, connection = client("tcp://127.0.0.1:1", timeout=0.002)
    with connection:
        assert growth(lambda: db["x"]._run(), 200) < SLACK


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.needs("proc")
def test_a_thread_that_met_an_error_leaves_no_socket_behind(db: Any) -> None:
    def meet() -> None:
        with contextlib.suppress(KeyError):
            db["no"]._run()

    def run_threads(count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=meet)
            thread.start()
            thread.join()

    run_threads(5)
    before = descriptors()
    run_threads(50)
    assert descriptors() < before + 10

"""A server without enough memory: a request is refused, and nothing is lost or taken for damage.

The memory of a process is bounded as `ulimit -v` does it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyzdb.errors import PyzdbError
from tests.support.programs import Server, run

MEGABYTE = 1 << 20

SIZES = (4, 8, 12, 16, 20, 24, 30, 40, 50, 60)
"""Megabytes of the values that are stored one after the other, until one does not fit."""

BOUNDED = """
import os, resource, sys
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (size, size))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that runs another one in so many bytes."""

HANDLED = """
import resource, sys
from pathlib import Path
from pyzdb.engine.database import Database
from pyzdb.errors import CorruptFile, StorageError
from pyzdb.protocol.requests import Request, encode_request
from pyzdb.storage.file_store import FileStore
from pyzdb.protocol.requests import (Read, Request, Write, encode_request)

def bound(free):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + free
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

def unbound():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

large = encode_request(Write((), "__setitem__", ("x", b"a" * (96 << 20)), version=2))
small = encode_request(Write((), "__setitem__", ("y", 1), version=2))
read = encode_request(Read(("x",), version=2))

def show(answer):
    print(answer[:60].decode(), flush=True)

database = Database(FileStore(sys.argv[1]))
database.open()
bound(32 << 20)
show(database.handle(large))
show(database.handle(small))
unbound()
show(database.handle(large))
database.flush()
bound(32 << 20)
show(database.handle(read))
show(database.handle(small))
database.flush()
unbound()
if sys.argv[2] == "saved":
    database.save()
database.close()
del database, large
bound(32 << 20)
try:
    Database(FileStore(sys.argv[1])).open()
except (StorageError, MemoryError) as error:
    print("damage" if isinstance(error, CorruptFile) else "no memory")
unbound()
database = Database(FileStore(sys.argv[1]))
database.open()
print(list(database.tree.root), database.tree.root["y"], len(database.tree.root["x"]))
"""

NO_ROOM = '{"error":{"type":"OperationError","message":"MemoryError in '


def virtual_size(pid: int) -> int:
    """Bytes of address space that a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmSize"):
            return int(line.split()[1]) * 1024
    raise ValueError("no size")


def fill(db: Any, kept: list[str]) -> None:
    for megabytes in SIZES:
        db[f"b{megabytes}"] = {"t": "a" * (megabytes * MEGABYTE)}
        kept.append(f"b{megabytes}")


@pytest.mark.parametrize("free", [40, 80, 120])
def test_what_is_acknowledged_is_kept_when_a_write_finds_no_memory(
    server: Server, connect: Callable[..., Any], free: int
) -> None:
    size = virtual_size(server.pid) + free * MEGABYTE
    server.stop()
    server.before = [sys.executable, "-c", BOUNDED, str(size)]
    server.start()
    db = connect(server.write_uri)
    kept: list[str] = []
    with pytest.raises(PyzdbError, match="MemoryError"):
        fill(db, kept)
    db["after"] = 1
    assert list(db) == [*kept, "after"]
    server.kill()
    server.before = []
    server.start()
    assert list(db) == [*kept, "after"]
    db.undo(len(kept) + 1)
    assert db._run() == {}


@pytest.mark.parametrize("where", ["journal", "saved"])
def test_a_want_of_memory_is_an_error_and_not_damage(tmp_path: Path, where: str) -> None:
    done = run([sys.executable, "-c", HANDLED, str(tmp_path / "db.pkl"), where])
    assert done.stderr.count("Traceback") == 0, done.stderr
    assert done.stdout.splitlines() == [
        NO_ROOM,
        '{"sequence":1}',
        '{"sequence":2}',
        NO_ROOM,
        '{"sequence":3}',
        "no memory",
        "['y', 'x'] 1 100663296",
    ]

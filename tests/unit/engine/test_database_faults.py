"""What an engine does when the disk or the program fails."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from pyzdb.engine.commits import STAMP
from pyzdb.engine.database import Database
from pyzdb.errors import (
    CorruptFile,
    EncodingError,
    OperationError,
    QueryError,
    StorageFull,
    SyncFailed,
)
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import (
    Batch,
    GiveLockBack,
    Read,
    TakeLock,
    Write,
    encode_request,
)
from pyzdb.storage.memory import MemoryStore
from pyzdb.values.plain import MAX_DEPTH
from tests.support.disks import FaultyDisk, SmallDisk, broken, no_room
from tests.support.engine import NOON, Engine, Start, everything


def test_a_full_disk_is_an_error_and_an_unchanged_tree(start: Start) -> None:
    disk = FaultyDisk(fault=no_room())
    engine = start(disk)
    engine.put("x", 3)
    before = everything(engine)
    large = "a" * 1_000_000
    for request in (
        {"mode": "write", "func": "__setitem__", "args": ("x", large)},
        {"mode": "batch", "commands": (Command((), "update", ({"y": 1, "x": large},)),)},
    ):
        disk.at = disk.calls + 1
        with pytest.raises(StorageFull):
            engine.get(**request)
        assert everything(engine) == before
    assert engine.get("read", index=("x",)) == 3
    engine.put("x", large)
    engine.restart()
    assert engine.tree == {"x": large}


def test_source_that_finds_the_disk_full_changes_nothing(start: Start) -> None:
    disk = FaultyDisk(fault=no_room())
    engine = start(disk, exec=True)
    engine.put("x", 3)
    disk.at = disk.calls + 1
    with pytest.raises(StorageFull):
        engine.get("exec", command="db['x'] = 'a' * 1_000_000")
    assert engine.tree == {"x": 3}
    engine.restart()
    assert engine.tree == {"x": 3}


def test_source_cannot_hide_that_the_disk_failed(start: Start) -> None:
    disk = FaultyDisk(fault=broken())
    engine = start(disk, exec=True)
    disk.at = disk.calls + 1
    with pytest.raises(SyncFailed):
        engine.get("exec", command="db['x'] = 'a' * 1_000_000")
    with pytest.raises(SyncFailed):
        engine.get("exec", command="try: db['x'] = 1\nexcept Exception: print('refused')")
    engine.restart()
    assert engine.tree == {}


def test_a_database_whose_disk_failed_can_be_closed_and_opened_again(start: Start) -> None:
    disk = FaultyDisk(fault=broken())
    engine = start(disk)
    engine.put("x", 3)
    disk.at = disk.calls + 1
    with pytest.raises(SyncFailed):
        engine.put("y", 4)
    engine.db.close()
    engine.restart()
    assert engine.tree == {"x": 3}


def test_after_a_failed_sync_nobody_is_answered(start: Start) -> None:
    disk = FaultyDisk(fault=broken())
    engine = start(disk)
    engine.put("x", 3)
    disk.at = disk.calls + 2  # the write of the record is one call, its sync the next
    engine.db.handle(encode_request(Write((), "__setitem__", ("x", 4), version=2)))
    with pytest.raises(SyncFailed):
        engine.db.flush()
    for request in (
        Write((), "__setitem__", ("x", 5), version=2),
        TakeLock(version=2),
        Write((), "save", version=2),
    ):
        with pytest.raises(SyncFailed):
            engine.db.handle(encode_request(request))
    with pytest.raises(SyncFailed):
        engine.db.flush()
    with pytest.raises(SyncFailed):
        engine.db.tick()
    disk.at = 0
    engine.restart()
    assert engine.tree in ({"x": 3}, {"x": 4})


class Moody(MemoryStore):
    """A store with a fault of its own."""

    is_bad = False

    def reserve(self, size: int, spare: bool = False) -> None:
        if self.is_bad:
            raise ZeroDivisionError("a fault")


def test_a_fault_of_the_program_is_an_error_and_the_others_go_on() -> None:
    store = Moody()
    engine = Engine(store)
    engine.put("x", 3)
    store.is_bad = True
    with pytest.raises(OperationError, match="ZeroDivisionError in the server"):
        engine.put("x", 4)
    assert "OperationError" in engine.old(mode="write", index=[], func="clear")
    assert engine.tree == {"x": 3}
    store.is_bad = False
    engine.put("x", 5)
    engine.restart()
    assert engine.tree == {"x": 5}


@pytest.mark.parametrize(
    "message",
    [
        b"{",
        b'{"mode": "read", "index": ["no"]}',
        encode_request(Read(("no",), version=2)),
        encode_request(Write((), "update", (3,), version=2)),
        encode_request(Write((), "no_function", version=2)),
        encode_request(Batch(commands=(Command((), "clear"), Command(("no",))), version=2)),
        encode_request(Write((), "redo", version=2)),
        encode_request(GiveLockBack(version=2)),
        encode_request(Read((), token=7, version=2)),
    ],
)
def test_a_request_that_fails_leaves_nothing_in_the_memory(message: bytes) -> None:
    db = Engine(MemoryStore()).db
    gc.collect()
    gc.disable()  # as in a server
    try:
        counts = []
        for _ in range(3):
            for _ in range(50):
                db.handle(message)
            counts.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert counts[2] - counts[1] < 50


@pytest.mark.parametrize(
    "body",
    [
        b"",
        STAMP.pack(NOON) + b"nothing",
        STAMP.pack(NOON) + encode_request(Write(("no",), "clear", version=2)),
        STAMP.pack(NOON) + encode_request(Write((), "redo", version=2)),
        STAMP.pack(NOON) + encode_request(GiveLockBack(version=2)),
    ],
)
def test_a_record_that_cannot_be_done_stops_the_start(body: bytes) -> None:
    store = MemoryStore()
    Engine(store).put("x", 3)
    store.append(body)
    store.flush()
    with pytest.raises(CorruptFile, match="record 2 of the journal"):
        Database(store).open()


def fill(engine: Engine, first: int = 0, **fields: Any) -> int:
    """Put texts until there is no room, and return the number of the one that was refused."""
    number = first
    try:
        while True:
            engine.put(number, "x" * 1_000, **fields)
            number += 1
    except StorageFull:
        return number


def test_a_full_disk_can_be_emptied_by_clients(start: Start) -> None:
    disk = SmallDisk(2_000_000)
    engine = start(disk)
    count = fill(engine)
    engine.call("__delitem__", 0)
    assert engine.call("pop", 1) == "x" * 1_000
    engine.call("popitem")
    engine.batch(Command((), "pop", (2,)), Command((), "__delitem__", (3,)))
    engine.call("undo")
    assert list(engine.tree) == list(range(2, count - 1))
    with pytest.raises(StorageFull):
        engine.put("x", 1)
    with pytest.raises(StorageFull):
        engine.batch(Command((), "pop", (2,)), Command((), "__setitem__", ("x", 1)))
    engine.call("clear")
    engine.restart()
    assert engine.tree == {}


def test_a_save_makes_room_on_a_full_disk_again(start: Start) -> None:
    engine = start(SmallDisk(2_000_000), history_limit=0)
    count = fill(engine)
    engine.call("clear")
    engine.db.save()
    assert fill(engine) >= count - 10
    engine.restart()
    assert len(engine.tree) >= count - 10


def test_the_lock_is_given_back_on_a_full_disk(start: Start) -> None:
    engine = start(SmallDisk(1_000_000))
    token = engine.get("lock")["token"]
    number = fill(engine, token=token)
    assert engine.get("unlock", token=token) == {"locked": False}
    assert len(engine.tree) == number


ESCAPED = Command(("b",), "decode", ("utf-8", "surrogateescape"))
DEFAULT: Any = [1]
for _ in range(MAX_DEPTH + 10):
    DEFAULT = [DEFAULT]
SET = Command((), "__setitem__", ("x", (1, 2)))


@pytest.mark.parametrize(
    "commands",
    [
        (SET, ESCAPED),
        (ESCAPED, SET),
        (SET, Command((), "get", ("no", DEFAULT))),
        (
            Command((), "pop", ("l",)),
            SET,
            Command((), "clear"),
            Command((), "get", ("no", DEFAULT)),
        ),
    ],
)
@pytest.mark.parametrize("sender", [{}, {"client": "c", "number": 9}])
def test_a_change_whose_answer_cannot_be_sent_is_taken_back(
    start: Start, commands: tuple[Command, ...], sender: dict[str, Any]
) -> None:
    engine = start()
    engine.put("b", b"\xff")
    engine.put("l", [1])
    before = engine.db.state() | {"answers": None}
    for _ in range(2):  # a repeat gets the same
        with pytest.raises((OperationError, EncodingError)):
            engine.batch(*commands, **sender)
        assert repr(engine.db.state() | {"answers": None}) == repr(before)
    sequence = engine.db.sequence
    engine.restart()
    assert engine.db.sequence == sequence
    assert repr(engine.db.state() | {"answers": None}) == repr(before)


@pytest.mark.parametrize(
    ("func", "args", "words"),
    [
        ("undo", (1, 2), "db.undo.*too many"),
        ("redo", (None,), "redo takes a number of steps"),
        ("save", (1,), "db.save.*too many"),
        ("history", ("x",), "history takes a number of steps"),
    ],
)
def test_the_whole_tree_refuses_wrong_arguments_in_its_own_words(
    engine: Engine, func: str, args: tuple[Any, ...], words: str
) -> None:
    engine.put("x", 1)
    with pytest.raises(QueryError, match=words) as raised:
        engine.call(func, *args)
    assert "Database" not in str(raised.value)
    assert engine.db.history.done == 1

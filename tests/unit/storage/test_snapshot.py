"""Snapshots: what comes back, what is refused, and that no file makes the reader run code."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pyzdb.errors import CorruptFile, EncodingError
from pyzdb.storage.disk import Disk
from pyzdb.storage.snapshot import (
    HEADER_SIZE,
    NAMES,
    dump_state,
    read_head,
    read_snapshot,
    write_snapshot,
)
from pyzdb.values import Custom, File
from pyzdb.values.zones import kept, name_of

VALUES: list[Any] = [
    None,
    True,
    -(10**5000),
    1.5,
    float("inf"),
    "é\N{GRINNING FACE}",
    b"\0\xff",
    [1, [2, (3, {4})]],
    {"a": 1, 2: "b", ("c", 3): None, None: []},
    frozenset({1}),
    date(2024, 2, 29),
    time(1, 2, 3),
    datetime(2024, 1, 1, tzinfo=UTC),
    kept(
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=timezone(timedelta(hours=1))), "Europe/Berlin"
    ),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    timedelta(days=-1, microseconds=5),
    Decimal("1.10"),
    UUID(int=7),
    File("/srv/db/bigfiles/1-report.pdf", filename="report.pdf"),
    Custom("point", {"data": [1, 2]}),
    kept(time(1, 2, 3), "Europe/Berlin"),
]

OURS_IN_0_1_0 = {
    *(("pyzdb.values", name) for name in ("Custom", "File", "from_wire")),
    *(("pyzdb.zones", name) for name in ("Zone", "ZoneName")),
}
"""What that version knows of its own in a snapshot; it takes another name for damage."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


def write(path: str, state: dict[str, Any], sequence: int = 7, chain: int = 99) -> None:
    disk = Disk()
    fd = disk.create(path)
    try:
        write_snapshot(disk, fd, state, sequence, chain)
    finally:
        disk.close(fd)


def read(path: str) -> Any:
    snapshot = read_snapshot(Disk(), path)
    assert snapshot is not None
    return snapshot


def test_every_value_that_can_be_stored_comes_back(path: str) -> None:
    write(path, {"tree": VALUES})
    tree = read(path).state["tree"]
    assert tree == VALUES
    assert list(map(type, tree)) == list(map(type, VALUES))
    assert (name_of(tree[13].tzinfo), tree[13].fold) == ("Europe/Berlin", 1)


def test_a_snapshot_says_which_record_it_ends_with(path: str) -> None:
    write(path, {"tree": {}}, 123456789012, 0xFFFFFFFF)
    snapshot = read(path)
    assert (snapshot.sequence, snapshot.chain) == (123456789012, 0xFFFFFFFF)
    assert snapshot.size == os.path.getsize(path)
    with open(path, "rb") as file:
        head = read_head(file, path)
    assert head is not None
    assert (head.sequence, head.chain) == (123456789012, 0xFFFFFFFF)


def test_the_order_of_keys_is_kept(path: str) -> None:
    tree = dict.fromkeys("zebra")
    write(path, {"tree": tree})
    assert list(read(path).state["tree"]) == list("zebra")


def test_there_may_be_no_snapshot(path: str) -> None:
    assert read_snapshot(Disk(), path) is None


def test_every_single_bit_that_is_wrong_is_damage(path: str) -> None:
    write(path, {"tree": {"some": ["data", 1, 2.5]}})
    data = Path(path).read_bytes()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        Path(path).write_bytes(changed)
        with pytest.raises(CorruptFile) as raised:
            read_snapshot(Disk(), path)
        assert raised.value.filename == path


def test_a_cut_or_longer_snapshot_is_damage(path: str) -> None:
    write(path, {"tree": {"some": ["data", 1, 2.5]}})
    data = Path(path).read_bytes()
    for wrong in [data[:size] for size in range(len(data))] + [data + b"\0"]:
        Path(path).write_bytes(wrong)
        with pytest.raises(CorruptFile):
            read_snapshot(Disk(), path)


@pytest.mark.parametrize("data", [b"", b"{}", b"#!/bin/sh\n" * 10, bytes(100)])
def test_a_file_of_something_else_is_no_snapshot(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)
    with pytest.raises(CorruptFile, match="it is not a snapshot of a database"):
        read_snapshot(Disk(), path)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_plain_pickle_is_the_tree_of_a_new_database(path: str, protocol: int) -> None:
    Path(path).write_bytes(pickle.dumps({"x": [1, {2}]}, protocol))
    snapshot = read(path)
    assert snapshot.state == {"tree": {"x": [1, {2}]}}
    assert (snapshot.sequence, snapshot.plain) == (0, True)


def test_a_plain_pickle_of_something_else_is_refused(path: str) -> None:
    Path(path).write_bytes(pickle.dumps("text"))
    with pytest.raises(CorruptFile, match="it is the pickle of a str"):
        read_snapshot(Disk(), path)


class Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    "attack",
    [
        Attack(os.system, "true"),
        Attack(eval, "1"),
        Attack(getattr, UUID, "__init__"),
        Attack(pickle.loads, b""),
        Attack(open, "evil", "w"),
    ],
)
def test_a_pickle_can_name_nothing_outside_the_list(path: str, attack: Attack) -> None:
    Path(path).write_bytes(pickle.dumps({"x": attack}, 5))
    with pytest.raises(CorruptFile, match="which is refused"):
        read_snapshot(Disk(), path)


def test_the_list_names_values_only() -> None:
    modules = {module for module, _ in NAMES}
    assert modules <= {
        "builtins",
        "datetime",
        "decimal",
        "uuid",
        "zoneinfo",
        "pyzdb.values",
        "pyzdb.zones",
    }
    assert not {"eval", "exec", "getattr", "open", "compile"} & {name for _, name in NAMES}


def test_a_server_of_0_1_0_reads_what_is_saved() -> None:
    named = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            named.add((module, name))
            return super().find_class(module, name)

    file = BytesIO()
    dump_state({"tree": VALUES}, file)
    file.seek(0)
    Unpickler(file).load()
    ours = {(module, name) for module, name in named if module.startswith("pyzdb")}
    assert {("pyzdb.values", "File"), ("pyzdb.zones", "Zone")} <= ours <= OURS_IN_0_1_0


def test_a_value_that_cannot_be_carried_fails_the_snapshot(path: str) -> None:
    with pytest.raises(EncodingError):
        write(path, {"tree": {"x": object()}})


def test_the_header_is_as_long_as_the_table_says() -> None:
    assert HEADER_SIZE == 41

"""What a database consists of: what belongs together, and every way in which it does not."""

from __future__ import annotations

import os
import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from pyzdb.errors import CorruptFile, SnapshotFailed
from pyzdb.storage.aside import quarantine
from pyzdb.storage.contents import Contents, examine, read_contents
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.layout import Layout
from tests.support.disks import FaultyDisk, no_room

RECORDS = 3
"""Records in each part of the database that the tests use."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database of a snapshot up to record 6 and the parts of records 7 and 10; the parts of
    records 1 and 4, which the snapshot replaced, lie in the folder ``old``."""
    path = str(tmp_path / "db.pkl")
    disk = FaultyDisk(fault=no_room())
    store = FileStore(path, disk=disk)
    store.open()
    (tmp_path / "old").mkdir()
    for first in (1, 4, 7, 10):
        add(store, first)
        if first < 7:
            shutil.copy(Layout(path).part(first), tmp_path / "old")
            store.save(partial(dict, tree=list(range(1, first + RECORDS))))
        if first == 7:  # a save that fails after the journal went on in a new part
            disk.at = disk.calls + 10
            with pytest.raises(SnapshotFailed, match="No space"):
                store.save(lambda: {"tree": []})
    store.close()
    return path


def add(store: FileStore, first: int) -> None:
    for number in range(first, first + RECORDS):
        store.reserve(10)
        store.append(b"body %d" % number)
        store.flush()


def names(path: str) -> list[str]:
    return sorted(os.listdir(os.path.dirname(path)))


def read(path: str) -> Contents:
    return read_contents(Disk(), path)


def damage_of(path: str) -> str:
    with pytest.raises(CorruptFile) as raised:
        read(path)
    return str(raised.value).replace(os.path.dirname(path) + "/", "")


def test_a_database_is_its_snapshot_and_the_records_after_it(path: str) -> None:
    contents = read(path)
    assert contents.state == {"tree": [1, 2, 3, 4, 5, 6]}
    assert list(contents.records()) == [(n, b"body %d" % n) for n in range(7, 13)]
    assert contents.sequence == 12
    assert contents.journal_size == sum(32 + len(body) for _, body in contents.records())
    assert (contents.stale, contents.beyond, contents.damages) == ([], [], [])


def test_nothing_is_an_empty_database(tmp_path: Path) -> None:
    contents = read(str(tmp_path / "db.pkl"))
    assert contents == Contents()
    assert contents.state is None


def test_a_snapshot_alone_is_a_database(path: str) -> None:
    for first in (7, 10):
        os.unlink(Layout(path).part(first))
    assert read(path).sequence == 6


def test_parts_before_the_snapshot_are_stale_and_not_read(path: str) -> None:
    Path(Layout(path).part(1)).write_bytes(b"anything")
    contents = read(path)
    assert contents.stale == [Layout(path).part(1)]
    assert contents.sequence == 12


def test_a_missing_part_is_damage(path: str) -> None:
    os.unlink(Layout(path).part(7))
    assert damage_of(path).startswith(
        "db.pkl.journal-000000000010 is damaged at offset 0: records 7 to 9 before it are missing; "
    )


def test_only_parts_from_before_the_snapshot_are_damage(path: str) -> None:
    for first in (7, 10):
        os.unlink(Layout(path).part(first))
    shutil.copy(os.path.dirname(path) + "/old/db.pkl.journal-000000000004", Layout(path).part(4))
    assert "the part with record 7 is missing" in damage_of(path)


def test_an_older_snapshot_beside_a_newer_journal_is_refused_with_what_to_do(path: str) -> None:
    older = Path(path).read_bytes()
    store = FileStore(path)
    store.open()
    store.reserve(4)
    store.append(b"more")
    store.save(lambda: {"tree": ["newer"]})
    store.close()
    Path(path).write_bytes(older)
    assert "put every db.pkl.journal-* aside" in damage_of(path)
    for name in os.listdir(os.path.dirname(path)):
        if ".journal-" in name:
            os.unlink(os.path.join(os.path.dirname(path), name))
    assert read_contents(Disk(), path).state is not None


def test_a_missing_snapshot_is_damage(path: str) -> None:
    os.unlink(path)
    assert "records 1 to 6 before it are missing" in damage_of(path)


def test_an_older_snapshot_is_damage_unless_its_parts_are_there(path: str, tmp_path: Path) -> None:
    os.unlink(path)
    old = str(tmp_path / "old")
    shutil.copy(f"{old}/db.pkl.journal-000000000001", Layout(path).part(1))
    assert "records 4 to 6 before it are missing" in damage_of(path)
    shutil.copy(f"{old}/db.pkl.journal-000000000004", Layout(path).part(4))
    assert list(read(path).records()) == [(n, b"body %d" % n) for n in range(1, 13)]


def test_a_part_of_another_journal_is_damage(path: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.pkl")
    store = FileStore(other)
    store.open()
    for first in (1, 4):
        add(store, first)
    store.save(lambda: {"tree": []})
    add(store, 7)
    store.close()
    os.replace(Layout(other).part(7), Layout(path).part(7))
    assert "journal-000000000007 is damaged at offset 0: it belongs to" in damage_of(path)


def test_a_part_that_was_cut_is_damage_when_another_follows(path: str) -> None:
    first = Layout(path).part(7)
    record = read(path).parts[0].end_of(8)
    os.truncate(first, record + 10)
    assert f"is damaged at offset {record}: its last record is not whole" in damage_of(path)
    os.truncate(first, record)
    assert "records 9 to 9 before it are missing" in damage_of(path)


def test_every_damage_is_found_and_what_is_good_before_it(path: str) -> None:
    for first in (7, 10):
        with open(Layout(path).part(first), "r+b") as file:
            file.seek(80)
            file.write(b"\xff")
    contents = examine(Disk(), path)
    assert [error.filename for error in contents.damages] == [
        Layout(path).part(7),
        Layout(path).part(10),
    ]
    assert contents.beyond == [Layout(path).part(7), Layout(path).part(10)]
    assert (contents.parts, contents.sequence) == ([], 6)


def test_a_torn_tail_of_the_last_part_is_no_damage(path: str) -> None:
    last = Layout(path).part(10)
    os.truncate(last, os.path.getsize(last) - 1)
    contents = read(path)
    assert contents.sequence == 11
    assert contents.torn_part is contents.parts[-1]


def test_no_wrong_bit_goes_unnoticed(path: str) -> None:
    whole = read(path)
    chance = random.Random(4)
    for name in [
        name for name in names(path) if name not in ("db.pkl.lock", "db.pkl.synced", "old")
    ]:
        file = Path(path).with_name(name)
        good = file.read_bytes()
        for bit in chance.sample(range(len(good) * 8), min(200, len(good) * 8)):
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            with pytest.raises(CorruptFile):
                read(path)
        file.write_bytes(good)
    assert read(path) == whole


def test_what_is_kept_aside_is_on_the_disk_with_its_name(path: str) -> None:
    disk = FaultyDisk()
    assert quarantine(disk, path, b"rest") == f"{path}.broken"
    assert disk.names_of_calls == ["create", "write", "sync", "sync_folder"]
    assert quarantine(disk, path, b"more") == f"{path}.broken-2"
    assert Path(f"{path}.broken").read_bytes() == b"rest"


def test_what_cannot_be_kept_aside_leaves_no_file(path: str) -> None:
    before = names(path)
    with pytest.raises(OSError, match="No space"):
        quarantine(FaultyDisk(2, no_room(), half=True), path, b"rest")
    assert names(path) == before

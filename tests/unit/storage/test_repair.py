"""Repair: what is good before the first damage is kept, and nothing is thrown away."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from pyzdb.errors import StorageError
from pyzdb.storage.contents import examine
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.journal import Journal
from pyzdb.storage.layout import Layout
from pyzdb.storage.repair import repair, unrepairable
from tests.support.disks import FaultyDisk, broken
from tests.support.stores import write

PARTS = (1, 4, 7)
"""First records of the parts of the database that the tests use."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database without a snapshot: three parts of three records."""
    path = str(tmp_path / "db.pkl")
    journal = Journal(path, "never", Disk())
    journal.create(1, 0)
    for number in range(1, 10):
        if number in PARTS[1:]:
            journal.rotate()
        journal.reserve(6)
        journal.append(b"body %d" % number)
    journal.close()
    return path


def flip(path: str, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def numbers(path: str) -> list[int]:
    """The records of a database that can be opened."""
    store = FileStore(path)
    opened = store.open()
    assert opened.notes == []
    found = [sequence for sequence, _ in opened.records]
    store.close()
    return [*(opened.state or {"tree": []})["tree"], *found]


def files(path: str) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in Path(path).parent.iterdir()}


def test_a_whole_database_is_left_alone(path: str) -> None:
    before = files(path)
    assert repair(Disk(), path) == []
    assert files(path) == before


def test_what_follows_a_damaged_record_is_put_aside(path: str) -> None:
    middle, last = Layout(path).part(4), Layout(path).part(7)
    good = Path(middle).read_bytes()
    flip(middle, 75)
    rest = Path(middle).read_bytes()[70:].rstrip(b"\0")
    done = repair(Disk(), path)
    assert done == [
        f"{last} was put aside as {last}.broken",
        f"{middle} was cut at offset 70; the {len(rest)} bytes after it are kept in "
        f"{middle}.broken",
    ]
    assert Path(f"{middle}.broken").read_bytes() == rest
    assert Path(middle).read_bytes() == good[:70]
    assert numbers(path) == [1, 2, 3, 4]


def test_a_part_whose_header_is_damaged_is_put_aside_whole(path: str) -> None:
    flip(Layout(path).part(4), 3)
    damaged = Path(Layout(path).part(4)).read_bytes()
    repair(Disk(), path)
    assert Path(f"{Layout(path).part(4)}.broken").read_bytes() == damaged
    assert numbers(path) == [1, 2, 3]


def test_what_follows_a_gap_is_put_aside(path: str) -> None:
    os.unlink(Layout(path).part(4))
    repair(Disk(), path)
    assert numbers(path) == [1, 2, 3]
    assert os.path.exists(f"{Layout(path).part(7)}.broken")


def test_a_torn_tail_is_cut_like_a_start_does(path: str) -> None:
    last = Layout(path).part(7)
    os.truncate(last, os.path.getsize(last) - 2)
    (line,) = repair(Disk(), path)
    assert line.startswith(f"{last} was cut at offset ")
    assert numbers(path) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_whole_journal_makes_up_for_a_damaged_snapshot(path: str) -> None:
    Path(path).write_bytes(b"pyzdb snapshot 1\n and nothing of use")
    assert repair(Disk(), path) == [f"{path} was put aside as {path}.broken"]
    assert numbers(path) == list(range(1, 10))


def test_a_journal_whose_snapshot_is_gone_is_left_alone(path: str) -> None:
    for each in Path(path).parent.iterdir():
        each.unlink()
    store = FileStore(path)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": {}})
    write(store, b"two")
    store.close()
    os.unlink(path)
    before = files(path)
    with pytest.raises(StorageError, match="is gone and no journal from record 1 on"):
        repair(Disk(), path)
    assert files(path) == before


def test_a_damaged_snapshot_that_nothing_makes_up_for_is_left_alone(path: str) -> None:
    store = FileStore(path)
    store.open()
    store.save(lambda: {"tree": list(range(1, 10))})
    store.close()
    flip(path, 60)
    before = files(path)
    assert unrepairable(path, examine(Disk(), path)) is not None
    with pytest.raises(StorageError, match="put an older copy of the database in its place"):
        repair(Disk(), path)
    assert files(path) == before


def test_parts_that_the_snapshot_replaced_are_put_aside_when_the_live_one_is_missing(
    path: str,
) -> None:
    shutil.copy(Layout(path).part(1), f"{path}.copy")
    store = FileStore(path)
    store.open()
    store.save(lambda: {"tree": list(range(1, 10))})
    store.close()
    os.replace(f"{path}.copy", Layout(path).part(1))
    os.unlink(Layout(path).part(10))
    repair(Disk(), path)
    store = FileStore(path)
    assert store.open().state == {"tree": list(range(1, 10))}
    store.close()


def test_any_damage_at_all_leaves_a_prefix_and_keeps_the_rest(path: str, tmp_path: Path) -> None:
    good = files(path)
    chance = random.Random(6)
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in good.items():
            (folder / name).write_bytes(content)
        damaged = str(folder / "db.pkl")
        for _ in range(chance.randrange(1, 4)):
            name = Layout(damaged).part(chance.choice(PARTS))
            flip(name, chance.randrange(len(good[os.path.basename(name)].rstrip(b"\0"))))
        before = files(damaged)
        repair(Disk(), damaged)
        after = files(damaged)
        for name, content in before.items():
            kept = after.get(name, b"") + after.get(f"{name}.broken", b"")
            assert kept.rstrip(b"\0") == content.rstrip(b"\0")
        found = numbers(damaged)
        assert found == list(range(1, len(found) + 1))


def test_an_interrupted_repair_is_finished_by_the_next(path: str, tmp_path: Path) -> None:
    flip(Layout(path).part(4), 75)
    damaged = files(path)
    disk = FaultyDisk()
    repair(disk, path)
    for at in range(1, disk.calls + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        for name, content in damaged.items():
            (folder / name).write_bytes(content)
        again = str(folder / "db.pkl")
        with pytest.raises(OSError, match="Input/output"):
            repair(FaultyDisk(at, broken(), half=True), again)
        repair(Disk(), again)
        assert numbers(again) == [1, 2, 3, 4]

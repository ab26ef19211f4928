"""Writing the journal: group commit, room, rotation, and what happens when the disk fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from pyzdb.errors import FilesReplaced, StorageError, StorageFull, SyncFailed
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk
from pyzdb.storage.journal import LARGE, PREALLOCATION, SPARE, Fsync, Journal
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import HEADER_SIZE, MAX_BODY, Part, read_part
from tests.support.disks import FaultyDisk, SmallDisk, broken, no_room
from tests.support.engine import Clock
from tests.torture.faults import FAULTS, Interruption


@pytest.fixture
def filename(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def journal(filename: str, disk: FaultyDisk) -> Iterator[Journal]:
    journal = Journal(filename, "always", disk)
    journal.create(1, 0)
    disk.names_of_calls.clear()
    yield journal
    journal.abandon()


def add(journal: Journal, body: bytes) -> int:
    journal.reserve(len(body))
    return journal.append(body)


def fill(journal: Journal) -> None:
    while True:
        add(journal, bytes(1_000))


def resume(journal: Journal, part: Part, size: int) -> None:
    journal.resume(part, Disk().open(part.filename, write=True), size)


def stored(filename: str) -> list[tuple[int, bytes]]:
    return list(read_contents(Disk(), filename).records())


def test_records_are_numbered_and_read_back(filename: str, journal: Journal) -> None:
    assert [add(journal, b"one"), add(journal, b"two")] == [1, 2]
    assert stored(filename) == []
    journal.flush()
    assert stored(filename) == [(1, b"one"), (2, b"two")]
    assert journal.size == 2 * (HEADER_SIZE + 3)


def test_a_group_is_one_write_and_one_sync(journal: Journal, disk: FaultyDisk) -> None:
    add(journal, b"the first makes room")
    journal.flush()
    disk.names_of_calls.clear()
    for _ in range(100):
        add(journal, b"body")
    journal.flush()
    assert disk.names_of_calls == ["write", "datasync"]


def test_a_flush_with_nothing_new_does_nothing(journal: Journal, disk: FaultyDisk) -> None:
    journal.flush()
    assert disk.names_of_calls == []


def test_the_name_of_a_new_part_is_on_the_disk_before_its_first_record(filename: str) -> None:
    disk = FaultyDisk()
    journal = Journal(filename, "always", disk)
    journal.create(1, 0)
    assert disk.names_of_calls == ["create", "write", "sync", "rename", "sync_folder"]
    journal.abandon()


@pytest.mark.parametrize("size", [0, 1, PREALLOCATION, 3 << 20])
def test_a_record_of_any_size_fits(filename: str, journal: Journal, size: int) -> None:
    add(journal, b"before")
    add(journal, bytes(size))
    add(journal, b"after")
    journal.flush()
    assert stored(filename) == [(1, b"before"), (2, bytes(size)), (3, b"after")]


def test_a_body_beyond_the_limit_is_refused(journal: Journal) -> None:
    with pytest.raises(StorageFull, match="more than one record can hold"):
        journal.reserve(MAX_BODY + 1)


@pytest.mark.parametrize("half", [False, True])
def test_a_full_disk_changes_nothing_and_writes_go_on_when_there_is_room(
    filename: str, journal: Journal, disk: FaultyDisk, half: bool
) -> None:
    add(journal, b"before")
    journal.flush()
    path = Layout(filename).part(1)
    size = os.path.getsize(path)
    disk.at, disk.fault, disk.half = disk.calls + 1, no_room(), half
    with pytest.raises(StorageFull, match=f"no room for {path}"):
        journal.reserve(PREALLOCATION)
    assert os.path.getsize(path) == size
    add(journal, bytes(PREALLOCATION))
    journal.flush()
    assert stored(filename) == [(1, b"before"), (2, bytes(PREALLOCATION))]


@pytest.mark.parametrize("call", [1, 2])
def test_after_a_failed_write_or_sync_everything_is_refused_for_ever(
    journal: Journal, disk: FaultyDisk, call: int
) -> None:
    add(journal, b"first")
    journal.flush()
    add(journal, b"second")
    disk.at, disk.fault = disk.calls + call, broken()
    with pytest.raises(SyncFailed, match=os.strerror(errno.EIO)):
        journal.flush()
    calls = disk.calls
    for refused in (
        journal.flush,
        journal.sync,
        journal.tick,
        journal.rotate,
        lambda: journal.reserve(1),
        lambda: journal.append(b"third"),
    ):
        with pytest.raises(SyncFailed):
            refused()
    journal.close()
    assert disk.calls == calls


@pytest.mark.parametrize("fsync", ["always", "everysec", "never"])
def test_a_new_part_continues_the_old_one(filename: str, fsync: Fsync) -> None:
    journal = Journal(filename, fsync, Disk())
    journal.create(1, 0)
    for number in range(1, 7):
        add(journal, b"body %d" % number)
        journal.flush()
        if number % 2 == 0:
            journal.rotate()
    journal.close()
    assert sorted(os.listdir(os.path.dirname(filename))) == [
        f"db.pkl.journal-{first:012}" for first in (1, 3, 5, 7)
    ]
    assert stored(filename) == [(n, b"body %d" % n) for n in range(1, 7)]


def test_a_part_without_records_is_not_followed_by_another(filename: str, journal: Journal) -> None:
    journal.rotate()
    assert os.listdir(os.path.dirname(filename)) == ["db.pkl.journal-000000000001"]


def test_a_rotation_that_finds_no_room_leaves_the_part_as_it_is(
    filename: str,
) -> None:
    disk = SmallDisk(2 * PREALLOCATION)
    journal = Journal(filename, "always", disk)
    journal.create(1, 0)
    add(journal, b"one")
    journal.flush()
    disk.free = -2 * PREALLOCATION  # more than the part has to give is missing
    with pytest.raises(StorageFull):
        journal.rotate()
    disk.free = 4 * PREALLOCATION
    add(journal, b"two")
    journal.flush()
    assert stored(filename) == [(1, b"one"), (2, b"two")]
    journal.rotate()
    add(journal, b"three")
    journal.flush()
    assert stored(filename) == [(1, b"one"), (2, b"two"), (3, b"three")]
    journal.close()


def test_some_room_is_kept_for_what_makes_room(filename: str) -> None:
    disk = SmallDisk(2_000 + 2 * PREALLOCATION)
    journal = Journal(filename, "always", disk)
    journal.create(1, 0)
    while disk.free > SPARE:
        add(journal, bytes(1_000))
    with pytest.raises(StorageFull, match=r"kept for what removes \(del, pop, clear, undo\)"):
        fill(journal)
    number = journal.sequence
    while True:
        try:
            journal.reserve(100, spare=True)
        except StorageFull:
            break
        journal.append(bytes(100))
    assert journal.sequence - number > SPARE / (HEADER_SIZE + 100) - 1
    journal.flush()
    assert len(stored(filename)) == journal.sequence
    journal.close()


def test_a_new_part_is_made_of_the_room_of_the_old_one(filename: str) -> None:
    disk = SmallDisk(2_000 + PREALLOCATION)
    journal = Journal(filename, "always", disk)
    journal.create(1, 0)
    add(journal, b"one")
    disk.free = 0
    journal.rotate()
    with pytest.raises(StorageFull):
        journal.reserve(PREALLOCATION)
    journal.reserve(1_000, spare=True)
    journal.append(b"two")
    journal.flush()
    assert stored(filename) == [(1, b"one"), (2, b"two")]
    journal.close()


def test_a_part_that_another_was_copied_over_is_not_written_into(
    filename: str, journal: Journal
) -> None:
    add(journal, b"one")
    journal.flush()
    path = Path(Layout(filename).part(1))
    older = path.read_bytes()
    add(journal, b"two")
    journal.flush()
    newer = path.read_bytes()
    assert len(older) == len(newer)
    path.write_bytes(older)  # into the same file: what `cp` does
    with pytest.raises(FilesReplaced, match="was replaced under the server"):
        journal.look()
    add(journal, b"three")
    with pytest.raises(FilesReplaced, match="was replaced under the server"):
        journal.flush()
    with pytest.raises(SyncFailed, match="was replaced under the server"):
        journal.flush()
    journal.close()
    assert path.read_bytes() == older


def test_the_memory_of_a_large_record_is_given_back_when_it_is_on_the_disk(filename: str) -> None:
    class Recording(FaultyDisk):
        def drop_cache(self, fd: int, offset: int, size: int) -> None:
            dropped.append((self.names_of_calls[-1], offset, size))
            super().drop_cache(fd, offset, size)

    dropped: list[tuple[str, int, int]] = []
    journal = Journal(filename, "always", Recording())
    journal.create(1, 0)
    bodies = [b"small", b"x" * LARGE, b"small again"]
    for body in bodies:
        add(journal, body)
        journal.flush()
    assert dropped == [("datasync", 2 * HEADER_SIZE + 5, HEADER_SIZE + LARGE)]
    journal.close()
    assert [body for _, body in stored(filename)] == bodies


def test_a_part_that_may_or_may_not_have_its_name_ends_everything(
    journal: Journal, disk: FaultyDisk
) -> None:
    add(journal, b"one")
    journal.flush()
    disk.at, disk.fault = disk.calls + 5, broken()
    with pytest.raises(SyncFailed):
        journal.rotate()
    assert disk.names_of_calls[-1] == "sync_folder"
    with pytest.raises(SyncFailed):
        journal.append(b"two")


def test_a_closed_journal_has_no_room_left_and_takes_nothing(
    filename: str, journal: Journal
) -> None:
    add(journal, b"one")
    journal.close()
    assert os.path.getsize(Layout(filename).part(1)) == 2 * HEADER_SIZE + 3
    assert stored(filename) == [(1, b"one")]
    with pytest.raises(StorageError, match="is closed"):
        journal.append(b"two")
    journal.close()


def test_a_journal_goes_on_where_it_was_left(filename: str, journal: Journal) -> None:
    add(journal, b"one")
    journal.flush()
    journal.abandon()
    for number in range(2, 5):
        again = Journal(filename, "always", Disk())
        contents = read_contents(Disk(), filename)
        resume(again, contents.parts[-1], contents.journal_size)
        assert again.size == contents.journal_size
        assert add(again, b"more") == number
        if number % 2:
            again.close()
        else:
            again.flush()
            again.abandon()
    assert stored(filename) == [(1, b"one"), (2, b"more"), (3, b"more"), (4, b"more")]


def test_a_torn_tail_is_cut_before_anything_is_written(filename: str, journal: Journal) -> None:
    add(journal, b"one")
    add(journal, b"two")
    journal.close()
    path = Layout(filename).part(1)
    os.truncate(path, os.path.getsize(path) - 1)
    again = Journal(filename, "always", Disk())
    resume(again, read_part(Disk().content(path), path), 0)
    again.abandon()
    assert os.path.getsize(path) == 2 * HEADER_SIZE + 3


def test_what_may_never_have_reached_the_disk_is_written_again(
    filename: str, journal: Journal
) -> None:
    for body in (b"one", b"two", b"three"):
        add(journal, body)
        journal.flush()
    journal.abandon()
    contents = read_contents(Disk(), filename)

    class Recording(FaultyDisk):
        def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
            written.append((offset, bytes(data)[HEADER_SIZE:]))
            super().write(fd, data, offset)

    written: list[tuple[int, bytes]] = []
    disk = Recording()
    again = Journal(filename, "always", disk)
    resume(again, contents.parts[-1], contents.journal_size)
    again.abandon()
    assert written == [(contents.parts[-1].end_of(2), b"three")]
    assert disk.names_of_calls == ["write", "sync"]


def test_a_start_that_cannot_sync_fails(filename: str, journal: Journal) -> None:
    contents = read_contents(Disk(), filename)
    again = Journal(filename, "always", FaultyDisk(2, broken()))
    with pytest.raises(SyncFailed, match="cannot be synced"):
        resume(again, contents.parts[-1], 0)


def test_everysec_syncs_what_has_waited_and_says_when_that_is(filename: str) -> None:
    disk, now = FaultyDisk(), Clock(1000.0)
    journal = Journal(filename, "everysec", disk, now, sync_interval=0.5)
    journal.create(1, 0)
    assert journal.tick() is None
    add(journal, b"one")
    journal.flush()
    assert stored(filename) == [(1, b"one")]
    for left in (0.5, 0.25):
        assert journal.tick() == left
        now.now += 0.25
    assert "datasync" not in disk.names_of_calls
    assert journal.tick() is None
    assert disk.names_of_calls[-1] == "datasync"
    assert journal.tick() is None
    journal.abandon()


def test_never_leaves_the_syncing_to_the_system(filename: str) -> None:
    disk = FaultyDisk()
    journal = Journal(filename, "never", disk)
    journal.create(1, 0)
    for _ in range(10):
        add(journal, bytes(PREALLOCATION))
        journal.flush()
        assert journal.tick() is None
    assert "datasync" not in disk.names_of_calls
    journal.abandon()


@pytest.mark.untraced
@pytest.mark.parametrize("fault", FAULTS)
def test_a_journal_that_is_interrupted_goes_on_whole_or_not_at_all(
    tmp_path: Path, fault: type[BaseException]
) -> None:
    for at in count(1):
        filename = str(tmp_path / f"{at}.pkl")
        journal = Journal(filename, "always", FaultyDisk())
        journal.create(1, 0)
        add(journal, b"before")
        journal.flush()
        expected = [(1, b"before")]
        with Interruption(fault, at, "line") as interruption, suppress(fault, StorageError):
            journal.rotate()
            journal.reserve(2 * PREALLOCATION)
        with suppress(SyncFailed):
            add(journal, b"after")
            journal.flush()
            expected.append((2, b"after"))
        journal.abandon()
        assert stored(filename) == expected
        if interruption.left:
            break
    assert at > 50
    assert len(expected) == 2

"""A cursor on a journal: from any record on, whatever its writer does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyzdb.errors import CorruptFile
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.journal import Fsync, Journal
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import HEADER_SIZE, Record, part_names, read_part
from pyzdb.storage.published import Published
from pyzdb.storage.reader import Compacted, Durable, JournalReader, Replaced
from pyzdb.storage.snapshot import write_snapshot
from tests.support.disks import MeddlingDisk
from tests.support.stores import write
from tests.torture.faults import Interruption
from tests.torture.memory import MemoryDisk

RECORDS = 9
ROTATED_AFTER = (3, 6)


class Writer:
    """The writing end of a journal, one step at a time."""

    def __init__(self, disk: Disk, filename: str, fsync: Fsync = "always") -> None:
        self.disk = disk
        self.filename = filename
        self.journal = Journal(filename, fsync, disk)
        self.journal.create(1, 0)
        self.published = Published(disk, filename)
        self.chains = [0]
        self.tell()

    def append(self, size: int = 10) -> None:
        """Write a record, of which nobody knows yet that it is durable."""
        body = self.body(self.journal.sequence + 1, size)
        self.journal.reserve(len(body))
        self.journal.append(body)
        self.journal.flush()
        self.chains.append(self.journal.chain)

    def tell(self, sequence: int | None = None) -> None:
        """Publish how far the journal is durable."""
        self.published.tell(self.journal.sequence if sequence is None else sequence)

    def write(self, records: int = 1, size: int = 10) -> None:
        for _ in range(records):
            self.append(size)
        self.tell()

    def save(self) -> None:
        """Do what a save does, the removal of the older parts included."""
        self.journal.rotate()
        self.tell()
        aside = Layout(self.filename).snapshot_aside
        fd = self.disk.create(aside)
        sequence, chain = self.journal.sequence, self.journal.chain
        write_snapshot(self.disk, fd, {"tree": {}}, sequence, chain)
        self.disk.close(fd)
        self.disk.rename(aside, self.filename)
        for first, path in part_names(self.disk, self.filename):
            if first <= self.journal.sequence:
                self.disk.unlink(path)

    def body(self, sequence: int, size: int = 10) -> bytes:
        return b"%d" % sequence * size

    def records(self, start: int = 0, size: int = 10) -> list[Record]:
        """All records after one."""
        last = self.journal.sequence
        return [(number, self.body(number, size)) for number in range(start + 1, last + 1)]

    def cursor(
        self, sequence: int = 0, chain: int | None = None, **named: Durable
    ) -> JournalReader:
        return JournalReader(self.disk, self.filename, sequence, chain, **named)


@pytest.fixture(params=[Disk, MemoryDisk])
def disk(request: pytest.FixtureRequest) -> Disk:
    kind: type[Disk] = request.param
    return kind()


@pytest.fixture
def filename(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


@pytest.fixture
def writer(disk: Disk, filename: str) -> Iterator[Writer]:
    writer = Writer(disk, filename)
    yield writer
    writer.journal.abandon()
    writer.published.close()


@pytest.fixture
def parts(writer: Writer) -> Writer:
    """A writer whose journal has three parts."""
    for number in range(1, RECORDS + 1):
        writer.write()
        if number in ROTATED_AFTER:
            writer.journal.rotate()
    return writer


def everything(reader: JournalReader, size: int = 1 << 20) -> list[Record]:
    """Read until there is nothing new, and let go of the files."""
    records: list[Record] = []
    while found := reader.read(size):
        assert isinstance(found, list)
        records += found
    reader.close()
    return records


def all_of_it(disk: Disk, filename: str) -> None:
    """For a journal of which no server says how far it is durable."""


@pytest.mark.parametrize("start", range(RECORDS + 1))
@pytest.mark.parametrize("size", [1, HEADER_SIZE, 100, 1 << 20])
def test_a_cursor_reads_from_any_record_on(parts: Writer, start: int, size: int) -> None:
    for chain in (None, parts.chains[start]):
        reader = parts.cursor(start, chain)
        assert everything(reader, size) == parts.records(start)
        assert (reader.sequence, reader.chain) == (RECORDS, parts.journal.chain)


@pytest.mark.parametrize("size", [1, 99, 100, 101, 1000, 5000])
def test_no_more_is_read_at_a_time_than_was_asked_for(writer: Writer, size: int) -> None:
    writer.write(20, size=100)
    reader = writer.cursor()
    records: list[Record] = []
    while found := reader.read(size):
        assert isinstance(found, list)
        assert len(found) == 1 or sum(HEADER_SIZE + len(body) for _, body in found) <= size
        records += found
    assert records == writer.records(size=100)
    reader.close()


@pytest.mark.parametrize("first", [1, 4, 7])
@pytest.mark.parametrize("start", range(RECORDS + 1))
def test_a_cursor_begins_in_a_part_that_was_read(parts: Writer, first: int, start: int) -> None:
    path = Layout(parts.filename).part(first)
    reader = parts.cursor(start, parts.chains[start])
    reader.begin_in(read_part(parts.disk.content(path), path))
    is_in_it = first - 1 <= start <= first + 2
    assert reader.start == ((first - 1, parts.chains[first - 1]) if is_in_it else None)
    assert everything(reader) == parts.records(start)


def test_a_cursor_does_not_begin_in_another_part_of_that_name(disk: Disk, parts: Writer) -> None:
    path = Layout(parts.filename).part(1)
    part = read_part(disk.content(path), path)
    for _, each in part_names(disk, parts.filename):
        disk.unlink(each)
    reader = parts.cursor(2, parts.chains[2])
    with pytest.raises(FileNotFoundError):
        reader.begin_in(part)
    other = Writer(disk, parts.filename)
    other.write(3)
    reader.begin_in(part)
    assert reader.start is None
    assert reader.read() == Replaced()
    other.journal.abandon()
    other.published.close()


def test_records_are_given_as_they_come(writer: Writer) -> None:
    reader = writer.cursor()
    for number in range(1, 20):
        assert reader.read() == []
        writer.write()
        assert reader.read() == [(number, writer.body(number))]
        if number % 5 == 0:
            writer.journal.rotate()
    assert reader.start == (15, writer.chains[15])
    reader.close()


# --- what is durable ------------------------------------------------------------------------


def test_nothing_is_given_that_is_not_durable(writer: Writer) -> None:
    reader = writer.cursor()
    for told in range(3, 20, 4):
        while writer.journal.sequence < told + 2:
            writer.append()
        assert reader.read() == []
        writer.tell(told)
        assert everything(reader) == writer.records(max(0, told - 4))[: 4 if told > 3 else 3]
        assert reader.sequence == told


@pytest.mark.parametrize("told", range(RECORDS + 1))
def test_a_cursor_stops_at_what_is_durable_in_any_part(parts: Writer, told: int) -> None:
    parts.tell(told)
    reader = parts.cursor(chain=0)
    assert everything(reader) == parts.records()[:told]
    parts.tell()
    assert everything(reader) == parts.records(told)


class SlowDisk(Disk):
    """A disk on which something is done while a sync is under way."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None

    def datasync(self, fd: int) -> None:
        self.meanwhile()
        super().datasync(fd)


def test_a_record_is_given_when_its_sync_has_ended_and_not_before(filename: str) -> None:
    disk = SlowDisk()
    store = FileStore(filename, disk=disk)
    store.open()
    reader = JournalReader(Disk(), filename, 0)
    seen = []
    disk.meanwhile = lambda: seen.append(reader.read())
    for number in range(1, 5):
        write(store, b"body %d" % number)
        assert reader.read() == [(number, b"body %d" % number)]
    assert len(seen) >= 4
    assert all(found == [] for found in seen)
    disk.meanwhile = lambda: None
    reader.close()
    store.close()


def test_without_a_note_all_that_can_be_read_is_durable(parts: Writer) -> None:
    parts.disk.unlink(Layout(parts.filename).synced)
    assert everything(parts.cursor()) == parts.records()


# --- unfinished writes ----------------------------------------------------------------------


def test_a_record_is_given_when_the_last_of_its_bytes_is_there(parts: Writer) -> None:
    path = Layout(parts.filename).part(7)
    part = read_part(parts.disk.content(path), path)
    start, end = part.end_of(RECORDS - 1), part.end
    fd = parts.disk.open(path, write=True)
    parts.disk.write(fd, bytes(end - start), start)
    reader = parts.cursor(RECORDS - 1, durable=all_of_it)
    for at in range(start, end):
        assert reader.read() == []
        parts.disk.write(fd, part.data[at : at + 1], at)
    assert reader.read() == [(RECORDS, parts.body(RECORDS))]
    parts.disk.close(fd)
    reader.close()


def test_what_takes_the_place_of_a_torn_tail_is_given(disk: Disk, filename: str) -> None:
    writer = Writer(disk, filename)
    writer.write(2)
    path = Layout(filename).part(1)
    part = read_part(disk.content(path), path)
    writer.append()
    fd = disk.open(path, write=True)
    disk.truncate(fd, part.end + HEADER_SIZE + 5)  # as a loss of power may leave it
    reader = writer.cursor(durable=all_of_it)
    assert reader.read() == writer.records()[:2]
    assert reader.read() == []
    writer.journal.abandon()
    again = Journal(filename, "always", disk)
    again.resume(read_part(disk.content(path), path), fd, 0)
    again.reserve(5)
    again.append(b"other")
    again.flush()
    assert reader.read() == [(3, b"other")]
    reader.close()
    again.abandon()
    writer.published.close()


# --- parts that go --------------------------------------------------------------------------


def test_a_record_that_is_in_the_snapshot_alone_is_said_to_be_there(parts: Writer) -> None:
    parts.save()
    parts.write(2)
    for start in range(RECORDS):
        assert parts.cursor(start).read() == Compacted(RECORDS + 1)
    assert everything(parts.cursor(RECORDS, parts.chains[RECORDS])) == parts.records(RECORDS)


def test_a_cursor_that_has_read_all_goes_on_through_saves(writer: Writer) -> None:
    reader = writer.cursor()
    for number in range(1, 30):
        writer.write()
        assert reader.read() == [(number, writer.body(number))]
        if number % 3 == 0:
            writer.save()
    reader.close()


def test_what_a_removed_part_held_is_read_by_who_has_it_open(writer: Writer) -> None:
    writer.write(2)
    reader = writer.cursor()
    assert reader.read(1) == writer.records()[:1]
    writer.write()
    writer.save()
    writer.write()
    assert everything(reader) == writer.records(1)
    behind = writer.cursor(1)
    assert behind.read() == Compacted(4)


def test_of_several_saves_the_last_is_told(writer: Writer) -> None:
    writer.write()
    reader = writer.cursor()
    assert reader.read() == writer.records()
    for _ in range(3):
        writer.write(2)
        writer.save()
    assert reader.read() == writer.records(1)[:2]  # in the part that it has open
    assert reader.read() == Compacted(8)
    reader.close()


def test_a_snapshot_alone_tells_what_is_in_it(parts: Writer) -> None:
    parts.save()
    for _, path in part_names(parts.disk, parts.filename):
        parts.disk.unlink(path)
    chain = parts.chains[RECORDS]
    assert parts.cursor(RECORDS - 1).read() == Compacted(RECORDS + 1)
    assert parts.cursor(RECORDS).read() == parts.cursor(RECORDS, chain).read() == []
    assert parts.cursor(RECORDS, chain + 1).read() == parts.cursor(RECORDS + 1).read() == Replaced()


# --- other files ----------------------------------------------------------------------------


def test_the_journal_of_another_database_is_not_taken_for_the_next_part(
    disk: Disk, filename: str, parts: Writer
) -> None:
    reader = parts.cursor()
    assert reader.read() == parts.records()[:3]
    for _, path in part_names(disk, filename):
        disk.unlink(path)
    other = Writer(disk, filename)
    other.write(3)
    other.journal.rotate()
    other.write(3)
    assert reader.read() == Replaced()
    assert reader.sequence == 3
    reader.close()
    other.journal.abandon()
    other.published.close()


def test_an_older_copy_of_the_files_is_told(parts: Writer) -> None:
    assert parts.cursor(RECORDS + 1).read() == Replaced()
    reader = parts.cursor(RECORDS)
    assert reader.read() == []
    for first in (4, 7):
        parts.disk.unlink(Layout(parts.filename).part(first))
    assert reader.read() == Replaced()
    reader.close()


def test_files_that_are_gone_for_a_moment_are_read_on_when_they_are_back(parts: Writer) -> None:
    reader = parts.cursor()
    assert reader.read() == parts.records()[:3]
    paths = [path for _, path in part_names(parts.disk, parts.filename)]
    for path in paths:
        parts.disk.rename(path, f"{path}.away")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="are gone"):
            reader.read()
    for path in paths:
        parts.disk.rename(f"{path}.away", path)
    assert everything(reader) == parts.records(3)


def test_damage_is_told_with_its_offset_and_the_cursor_stays(parts: Writer) -> None:
    path = Layout(parts.filename).part(4)
    content = parts.disk.content(path)
    first, second = (read_part(content, path).end_of(n) for n in (4, 5))
    fd = parts.disk.open(path, write=True)
    reader = parts.cursor()
    assert reader.read() == parts.records()[:3]
    parts.disk.write(fd, bytes([content[8] ^ 1]), 8)
    with pytest.raises(CorruptFile, match="offset 0: its header"):
        reader.read()
    parts.disk.write(fd, content, 0)
    assert reader.read(1) == [(4, parts.body(4))]
    parts.disk.write(fd, content[second:], first)  # record 6 in the place of record 5
    with pytest.raises(CorruptFile, match=f"offset {first}: record 6 does not continue record 4"):
        reader.read()
    parts.disk.write(fd, content, 0)
    assert everything(reader) == parts.records(4)
    parts.disk.close(fd)


def test_a_name_that_leads_nowhere_is_an_error(filename: str) -> None:
    os.symlink("nowhere", Layout(filename).part(1))
    with pytest.raises(FileNotFoundError):
        JournalReader(Disk(), filename, 0).read()


# --- at the same moment ---------------------------------------------------------------------


@pytest.mark.parametrize("saves", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 2])
def test_whatever_is_done_during_a_read_no_record_is_left_out(
    tmp_path: Path, saves: int, start: int
) -> None:
    for at in count(1):
        disk = MeddlingDisk()
        writer = Writer(Disk(), str(tmp_path / f"{at}.pkl"))
        writer.write(3)

        def deed(writer: Writer = writer) -> None:
            for _ in range(saves):
                writer.write()
                writer.save()
            writer.write()

        disk.deed, disk.calls_left = deed, at
        reader = JournalReader(disk, writer.filename, start, writer.chains[start])
        records: list[Record] = []
        for _ in range(10):
            found = reader.read()
            if isinstance(found, Compacted):
                assert saves > 0
                assert found.oldest > reader.sequence + 1
                break
            assert isinstance(found, list)
            records += found
        assert records == writer.records(start)[: len(records)]
        assert reader.sequence == start + len(records)
        was_done, disk.calls_left = disk.calls_left <= 0, 0
        reader.close()
        writer.journal.abandon()
        writer.published.close()
        if not was_done:
            break
    assert at > 5


@pytest.mark.untraced
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of files that are open just then
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_read_that_finds_no_memory_anywhere_is_made_again(parts: Writer) -> None:
    for at in count(1):
        reader = parts.cursor(2, parts.chains[2])
        with Interruption(MemoryError, at, "line") as interruption:
            try:
                records = everything(reader)
            except MemoryError:
                records = []
                start = reader.sequence
        if interruption.left:
            break
        assert everything(reader) == parts.records(start)
    assert records == parts.records(2)
    assert at > 50


DEEDS = st.lists(
    st.tuples(st.sampled_from(["append", "append", "tell", "rotate", "save", "read", "again"]),
              st.integers(1, 300)),
    max_size=40,
)  # fmt: skip


@settings(max_examples=40)
@given(DEEDS)
def test_every_record_is_given_once_or_told_to_be_in_the_snapshot(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, int]]
) -> None:
    writer = Writer(MemoryDisk(), str(tmp_path_factory.mktemp("db") / "db.pkl"), "never")
    reader = writer.cursor(chain=0)
    durable = saved = 0
    for deed, size in [*deeds, ("tell", 0), ("read", 1), ("read", 1 << 20), ("read", 1 << 20)]:
        before = reader.sequence
        if deed == "append":
            writer.append()
        elif deed == "tell":
            writer.tell()
            durable = writer.journal.sequence
        elif deed == "rotate":
            writer.journal.rotate()
        elif deed == "save":
            writer.save()
            durable = saved = writer.journal.sequence
        elif deed == "again":
            reader.close()
        else:
            found = reader.read(size)
            if isinstance(found, Compacted):
                assert before < saved
                assert found.oldest == saved + 1
                reader.close()
                reader = writer.cursor(saved, writer.chains[saved])
            else:
                assert found == writer.records()[before : reader.sequence]
                assert reader.sequence <= durable
                assert found or before == durable
    reader.close()
    writer.journal.abandon()
    writer.published.close()

"""A store on the disk and in memory: nothing acknowledged is ever lost, whatever is interrupted."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pyzdb.errors import (
    CorruptFile,
    FileInUse,
    FilesReplaced,
    SnapshotFailed,
    StorageError,
    StorageFull,
    SyncFailed,
)
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.layout import Layout
from pyzdb.storage.memory import MemoryStore
from pyzdb.storage.parts import HEADER_SIZE
from tests.support.disks import FaultyDisk, broken, no_room
from tests.support.stores import names, wait, whole, write

Restart = Callable[[], FileStore | MemoryStore]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


@pytest.fixture(params=["file", "memory"])
def restart(request: pytest.FixtureRequest, path: str) -> Iterator[Restart]:
    """Gives a store that is not open yet, on what the one before it, which is closed, left."""
    stores: list[FileStore | MemoryStore] = [] if request.param == "file" else [MemoryStore()]

    def restart() -> FileStore | MemoryStore:
        if request.param == "file":
            stores.append(FileStore(path))
        return stores[-1]

    yield restart
    for store in stores:
        store.close()


# --- what both kinds of a store do ----------------------------------------------------------


def test_a_new_store_holds_nothing(restart: Restart) -> None:
    store = restart()
    opened = store.open()
    assert (opened.state, list(opened.records), opened.notes) == (None, [], [])
    assert (store.sequence, store.journal_size, store.snapshot_size) == (0, 0, 0)
    assert (store.save_fd, store.tick()) == (None, None)


def test_what_was_flushed_is_there_after_a_restart(restart: Restart) -> None:
    store = restart()
    store.open()
    write(store, b"one", b"two")
    write(store, b"three")
    size = store.journal_size
    store.close()
    store = restart()
    opened = store.open()
    assert list(opened.records) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert opened.notes == []
    assert store.sequence == 3
    assert store.journal_size == size


def test_a_save_takes_the_place_of_the_records(restart: Restart) -> None:
    store = restart()
    store.open()
    write(store, b"one", b"two")
    store.save(lambda: {"tree": [b"one", b"two"]})
    assert store.journal_size == 0
    assert store.snapshot_size > 0
    write(store, b"three")
    size = store.snapshot_size
    store.close()
    store = restart()
    opened = store.open()
    assert opened.state == {"tree": [b"one", b"two"]}
    assert list(opened.records) == [(3, b"three")]
    assert store.snapshot_size == size


def test_a_save_in_the_background_holds_what_there_was_when_it_began(
    restart: Restart,
) -> None:
    store = restart()
    store.open()
    tree = [b"one"]
    write(store, b"one")
    store.start_save(lambda: {"tree": tree})
    tree.append(b"two")
    write(store, b"two")
    size = store.journal_size
    assert wait(store) is None
    assert store.save_fd is None
    assert store.journal_size <= size
    store.close()
    store = restart()
    opened = store.open()
    assert opened.state == {"tree": [b"one"]}
    assert list(opened.records) == [(2, b"two")]


def test_a_state_that_cannot_be_saved_leaves_what_there_was(restart: Restart) -> None:
    store = restart()
    store.open()
    write(store, b"one")
    with pytest.raises(SnapshotFailed, match="cannot be stored"):
        store.save(lambda: {"tree": [object()]})
    write(store, b"two")
    store.save(lambda: {"tree": [b"one", b"two"]})
    write(store, b"three")
    store.close()
    assert whole(restart().open()) == [b"one", b"two", b"three"]


def test_what_is_saved_is_no_part_of_the_living_tree(restart: Restart) -> None:
    store = restart()
    store.open()
    tree = [[b"one"]]
    store.save(lambda: {"tree": tree})
    tree[0].append(b"two")
    store.close()
    assert whole(restart().open()) == [[b"one"]]


def test_finishing_no_save_is_no_success(restart: Restart) -> None:
    store = restart()
    store.open()
    assert store.finish_save() == "no save is running"


class StoreMachine(RuleBasedStateMachine):
    """Random writes, saves and restarts, beside a list that is always right."""

    def make(self) -> FileStore | MemoryStore:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.bodies: list[bytes] = []
        self.running = False
        self.store = self.make()
        self.store.open()

    @rule(bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=4))
    def write(self, bodies: list[bytes]) -> None:
        write(self.store, *bodies)
        self.bodies += bodies

    @rule()
    def save(self) -> None:
        self.store.save(lambda: {"tree": self.bodies})
        self.running = False

    @rule()
    def start_save(self) -> None:
        if not self.running:
            self.store.start_save(lambda: {"tree": self.bodies})
            self.running = True

    @rule()
    def finish_save(self) -> None:
        if self.running:
            assert wait(self.store) is None
            self.running = False

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.running = False
        self.store = self.make()
        opened = self.store.open()
        assert whole(opened) == self.bodies
        assert opened.notes == []

    @invariant()
    def counts_every_record(self) -> None:
        assert self.store.sequence == len(self.bodies)

    def teardown(self) -> None:
        self.store.close()


def test_any_sequence_of_writes_saves_and_restarts_in_memory() -> None:
    class Machine(StoreMachine):
        memory = None

        def make(self) -> FileStore | MemoryStore:
            self.memory = self.memory or MemoryStore()
            return self.memory

    Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
    Machine.TestCase().runTest()


def test_any_sequence_of_writes_saves_and_restarts_on_the_disk(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    class Machine(StoreMachine):
        path = None

        def make(self) -> FileStore | MemoryStore:
            self.path = self.path or tmp_path_factory.mktemp("store") / "db.pkl"
            return FileStore(self.path, disk=FaultyDisk())

    Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=20)
    Machine.TestCase().runTest()


# --- starts ---------------------------------------------------------------------------------


def test_the_journal_of_a_new_database_is_durable_before_anything_is_answered(path: str) -> None:
    disk = FaultyDisk()
    store = FileStore(path, disk=disk)
    store.open()
    assert disk.names_of_calls[-2:] == ["rename", "sync_folder"]
    assert names(path) == ["db.pkl.journal-000000000001", "db.pkl.lock", "db.pkl.synced"]
    store.close()


def test_a_second_store_of_the_same_file_is_refused(path: str) -> None:
    store = FileStore(path)
    store.open()
    with pytest.raises(FileInUse, match=f"{path} is in use by pid {os.getpid()}"):
        FileStore(path).open()
    write(store, b"one")
    store.close()
    again = FileStore(path)
    assert whole(again.open()) == [b"one"]
    again.close()


def test_a_torn_tail_is_cut_and_kept_aside(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one", b"two")
    store.close()
    part = Layout(path).part(1)
    end = os.path.getsize(part) - HEADER_SIZE - 3
    os.truncate(part, os.path.getsize(part) - 1)
    torn = Path(part).read_bytes()[end:]
    store = FileStore(path)
    opened = store.open()
    assert opened.notes == [
        f"{part} ended in an unfinished write: {len(torn)} bytes from offset {end} on were cut "
        f"and are kept in {part}.broken"
    ]
    assert list(opened.records) == [(1, b"one")]
    assert Path(f"{part}.broken").read_bytes() == torn
    write(store, b"again")
    store.close()
    store = FileStore(path)
    opened = store.open()
    assert (whole(opened), opened.notes) == ([b"one", b"again"], [])
    store.close()


def test_what_an_interrupted_save_left_is_removed(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one")
    old = Path(Layout(path).part(1)).read_bytes()
    store.save(lambda: {"tree": [b"one"]})
    store.close()
    for left in (Layout(path).part(1), f"{path}.new", f"{path}.journal-new"):
        Path(left).write_bytes(old)
    store = FileStore(path)
    opened = store.open()
    assert (whole(opened), opened.notes) == ([b"one"], [])
    assert names(path) == ["db.pkl", "db.pkl.journal-000000000002", "db.pkl.lock", "db.pkl.synced"]
    store.close()


def test_a_saved_file_without_its_journal_is_opened_with_a_note(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": [b"one"]})
    store.close()
    os.unlink(Layout(path).part(2))
    store = FileStore(path)
    opened = store.open()
    assert opened.notes == [f"there is no journal beside {path}: it is as it was saved"]
    write(store, b"two")
    store.close()
    store = FileStore(path)
    assert whole(store.open()) == [b"one", b"two"]
    store.close()


def test_a_plain_pickle_becomes_a_snapshot_that_is_checked(path: str) -> None:
    Path(path).write_bytes(pickle.dumps([b"one"]))
    store = FileStore(path)
    assert whole(store.open()) == [b"one"]
    write(store, b"two")
    store.close()
    assert Path(path).read_bytes().startswith(b"pyzdb snapshot 1\n")
    store = FileStore(path)
    assert whole(store.open()) == [b"one", b"two"]
    store.close()


def test_a_damaged_database_is_not_opened_and_not_touched(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one", b"two")
    store.close()
    part = Path(Layout(path).part(1))
    damaged = bytearray(part.read_bytes())
    damaged[70] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(CorruptFile, match=f"{part} is damaged at offset 67"):
        FileStore(path).open()
    assert part.read_bytes() == damaged
    with pytest.raises(CorruptFile):  # it is not held either
        FileStore(path).open()


def test_an_error_of_the_system_at_the_start_names_the_database(path: str) -> None:
    for at in range(1, 6):
        with pytest.raises(StorageError, match=f"{path}.*Input/output error"):
            FileStore(path, disk=FaultyDisk(at, broken())).open()
    store = FileStore(path)
    assert whole(store.open()) == []
    store.close()


def test_a_store_can_be_opened_again_after_a_failed_sync(path: str) -> None:
    disk = FaultyDisk(fault=broken())
    store = FileStore(path, disk=disk)
    store.open()
    write(store, b"one")
    disk.at = disk.calls + 2
    with pytest.raises(SyncFailed):
        write(store, b"two")
    with pytest.raises(SyncFailed):
        store.save(lambda: {"tree": []})
    store.close()
    opened = store.open()
    assert whole(opened)[:1] == [b"one"]
    store.close()


def test_disk_full_and_free_again_a_hundred_times(path: str) -> None:
    disk = FaultyDisk(fault=no_room(), half=True)
    store = FileStore(path, disk=disk)
    store.open()
    chance = random.Random(5)
    given = []
    for number in range(100):
        body = b"%d" % number * chance.randrange(1000, 100_000)
        disk.at = disk.calls + 1
        try:
            store.reserve(len(body))
        except StorageFull:
            pass
        else:
            store.append(body)
            disk.at = 0
            store.flush()
            given.append(body)
    store.close()
    store = FileStore(path)
    assert whole(store.open()) == given
    store.close()


@pytest.mark.parametrize("name", ["db.pkl", "db.pkl.lock"])
def test_nothing_is_begun_on_files_that_were_replaced_meanwhile(path: str, name: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": [b"one"]})
    store.close()
    store = FileStore(path)
    store.take()
    replaced = Path(path).with_name(name)
    replaced.unlink()
    replaced.write_bytes(b"put there by somebody")
    before = {each: Path(path).with_name(each).read_bytes() for each in names(path)}
    with pytest.raises(StorageError, match=f"{name} was replaced"):
        store.begin()
    assert {each: Path(path).with_name(each).read_bytes() for each in names(path)} == before


def test_what_is_only_taken_leaves_every_file_as_it_was(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one", b"two")
    store.close()
    os.truncate(Layout(path).part(1), os.path.getsize(Layout(path).part(1)) - 1)
    before = {each: Path(path).with_name(each).read_bytes() for each in names(path)}
    store = FileStore(path)
    assert whole(store.take()) == [b"one"]
    store.close()
    assert {each: Path(path).with_name(each).read_bytes() for each in names(path)} == before


class SlowFolder(Disk):
    """A disk on which somebody does something while a folder is synced."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def sync_folder(self, path: str) -> None:
        super().sync_folder(path)
        self.meanwhile()


def test_a_save_removes_nothing_of_a_backup_that_was_put_in_its_place_meanwhile(
    tmp_path: Path,
) -> None:
    folder, backup = tmp_path / "data", tmp_path / "backup"
    folder.mkdir()
    disk = SlowFolder()
    store = FileStore(folder / "db.pkl", disk=disk)
    store.open()
    write(store, b"one")
    shutil.copytree(folder, backup)
    write(store, b"two")

    def put_in_place() -> None:
        if not (folder / "db.pkl").exists():
            return
        disk.meanwhile = lambda: None
        for each in folder.iterdir():
            each.unlink()
        shutil.copytree(backup, folder, dirs_exist_ok=True)

    disk.meanwhile = put_in_place
    with pytest.raises(FilesReplaced):
        store.save(lambda: {"tree": {}})
    assert {each.name for each in folder.iterdir()} == {each.name for each in backup.iterdir()}
    store.close()

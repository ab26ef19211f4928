"""A store on the disk and in memory: nothing acknowledged is ever lost, whatever is interrupted."""

from __future__ import annotations

import errno
import os
import pickle
import random
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from disks import FaultyDisk, broken, die, fails_with, no_room
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pyzdb.errors import (
    CorruptFile,
    FileInUse,
    ReadOnlyError,
    SnapshotFailed,
    StorageError,
    StorageFull,
    SyncFailed,
)
from pyzdb.storage.disk import Disk
from pyzdb.storage.parts import HEADER_SIZE, part_name
from pyzdb.storage.snapshot import State
from pyzdb.storage.store import FileStore, MemoryStore, Opened, ReadOnlyStore, Store

LIMIT = 30.0
"""Seconds that a test waits for a save."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


@pytest.fixture(params=["file", "memory"])
def restart(request: pytest.FixtureRequest, path: str) -> Iterator[Callable[[], Store]]:
    """Gives a store that is not open yet, on what the one before it, which is closed, left."""
    stores: list[Store] = [] if request.param == "file" else [MemoryStore()]

    def restart() -> Store:
        if request.param == "file":
            stores.append(FileStore(path))
        return stores[-1]

    yield restart
    for store in stores:
        store.close()


def write(store: Store, *bodies: bytes) -> None:
    for body in bodies:
        store.reserve(len(body))
        store.append(body)
    store.flush()


def whole(opened: Opened) -> list[Any]:
    """All bodies that a store was given: those that were saved are in the tree."""
    saved = (opened.state or {"tree": []})["tree"]
    return [*saved, *(body for _, body in opened.records)]


def wait(store: Store) -> str | None:
    assert store.save_fd is not None
    assert select.select([store.save_fd], [], [], LIMIT)[0]
    return store.finish_save()


def names(path: str) -> list[str]:
    return sorted(os.listdir(os.path.dirname(path)))


# --- what both kinds of a store do ----------------------------------------------------------


def test_a_new_store_holds_nothing(restart: Callable[[], Store]) -> None:
    store = restart()
    opened = store.open()
    assert (opened.state, list(opened.records), opened.notes) == (None, [], [])
    assert (store.sequence, store.journal_size, store.snapshot_size) == (0, 0, 0)
    assert (store.save_fd, store.tick()) == (None, None)


def test_what_was_flushed_is_there_after_a_restart(restart: Callable[[], Store]) -> None:
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


def test_a_save_takes_the_place_of_the_records(restart: Callable[[], Store]) -> None:
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
    restart: Callable[[], Store],
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


def test_a_state_that_cannot_be_saved_leaves_what_there_was(restart: Callable[[], Store]) -> None:
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


def test_what_is_saved_is_no_part_of_the_living_tree(restart: Callable[[], Store]) -> None:
    store = restart()
    store.open()
    tree = [[b"one"]]
    store.save(lambda: {"tree": tree})
    tree[0].append(b"two")
    store.close()
    assert whole(restart().open()) == [[b"one"]]


def test_finishing_no_save_is_no_success(restart: Callable[[], Store]) -> None:
    store = restart()
    store.open()
    assert store.finish_save() == "no save is running"


class StoreMachine(RuleBasedStateMachine):
    """Random writes, saves and restarts, beside a list that is always right."""

    def make(self) -> Store:
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

        def make(self) -> Store:
            self.memory = self.memory or MemoryStore()
            return self.memory

    Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
    Machine.TestCase().runTest()


def test_any_sequence_of_writes_saves_and_restarts_on_the_disk(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    class Machine(StoreMachine):
        path = None

        def make(self) -> Store:
            self.path = self.path or tmp_path_factory.mktemp("store") / "db.pkl"
            return FileStore(self.path, disk=FaultyDisk())

    Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=20)
    Machine.TestCase().runTest()


# --- interruptions --------------------------------------------------------------------------

BODIES = [b"body %d" % number for number in range(1, 12)]


def work(store: FileStore, acknowledge: Callable[[bytes], Any]) -> None:
    """A day in the life of a store: every step that it has is in it."""
    given: list[bytes] = []

    def write_and_tell(*bodies: bytes) -> None:
        write(store, *bodies)
        given.extend(bodies)
        for body in bodies:
            acknowledge(body)

    def save(begin: Callable[[Callable[[], Any]], None]) -> bool:
        try:
            begin(lambda: {"tree": given})
        except SnapshotFailed:
            return False
        return True

    store.open()
    try:
        write_and_tell(*BODIES[:2])
        write_and_tell(BODIES[2])
        running = save(store.start_save)
        write_and_tell(*BODIES[3:5])
        if running:
            wait(store)
        write_and_tell(BODIES[5])
        save(store.save)
        write_and_tell(*BODIES[6:9])
        running = save(store.start_save)
        write_and_tell(BODIES[9])
        if running:
            wait(store)
        write_and_tell(BODIES[10])
    finally:
        store.close()


def calls_of_work(tmp_path: Path) -> int:
    """How many calls it takes; those of the saving process have the same numbers as some here."""
    disk = FaultyDisk()
    (tmp_path / "count").mkdir()
    work(FileStore(tmp_path / "count" / "db.pkl", disk=disk), lambda body: None)
    return disk.calls


def work_in_a_process(path: str, disk: Disk) -> tuple[list[bytes], int]:
    """What was acknowledged by a process that works on a disk, and how it ended."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(FileStore(path, disk=disk), lambda body: os.write(tell, body + b"\n"))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(tell)
    with open(told, "rb") as file:
        acknowledged = file.read().split(b"\n")[:-1]
    _, status = os.waitpid(pid, 0)
    return acknowledged, os.waitstatus_to_exitcode(status)


def check_and_go_on(path: str, acknowledged: list[bytes]) -> None:
    """Nothing that was acknowledged is lost, nothing is twice, and the store works again."""
    store = FileStore(path, disk=FaultyDisk())
    found = whole(store.open())
    assert found[: len(acknowledged)] == acknowledged
    assert found == BODIES[: len(found)]
    write(store, b"after")
    store.save(lambda: {"tree": [*found, b"after"]})
    write(store, b"at last")
    store.close()
    again = FileStore(path, disk=FaultyDisk())
    opened = again.open()
    assert whole(opened) == [*found, b"after", b"at last"]
    assert opened.notes == []
    last = f"db.pkl.journal-{len(found) + 2:012}"
    assert [name for name in names(path) if ".broken" not in name] == [
        "db.pkl",
        last,
        "db.pkl.lock",
    ]
    again.close()


@pytest.mark.parametrize("half", [False, True], ids=["before", "within"])
def test_a_kill_at_any_step_loses_nothing_acknowledged(tmp_path: Path, half: bool) -> None:
    for at in range(1, calls_of_work(tmp_path) + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        acknowledged, status = work_in_a_process(
            str(folder / "db.pkl"), FaultyDisk(at, die, half=half)
        )
        assert status in (0, 9)
        check_and_go_on(str(folder / "db.pkl"), acknowledged)


@pytest.mark.parametrize(("reason", "half"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_an_error_at_any_step_is_told_and_loses_nothing(
    tmp_path: Path, reason: int, half: bool
) -> None:
    for at in range(1, calls_of_work(tmp_path) + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        path = str(folder / "db.pkl")
        disk = FaultyDisk(at, fails_with(reason), half=half)
        acknowledged: list[bytes] = []
        with suppress(StorageError):
            work(FileStore(path, disk=disk), acknowledged.append)
        check_and_go_on(path, acknowledged)


def test_a_child_that_fails_is_told_and_the_next_save_works(path: str) -> None:
    disk = FaultyDisk(fault=no_room())
    store = FileStore(path, disk=disk)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": [b"one"]})
    saved = Path(path).read_bytes()
    write(store, b"two")
    disk.at = disk.calls + 9  # the first write of the child
    store.start_save(lambda: {"tree": [b"one", b"two"]})
    disk.at = 0  # the disk of the child is a copy
    assert wait(store) == (f"{path} was not saved: OSError: [Errno 28] No space left on device")
    assert Path(path).read_bytes() == saved
    write(store, b"three")
    store.start_save(lambda: {"tree": [b"one", b"two", b"three"]})
    assert wait(store) is None
    assert names(path) == ["db.pkl", "db.pkl.journal-000000000004", "db.pkl.lock"]
    store.close()


def test_a_killed_child_is_told_and_loses_nothing(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one")

    def killed() -> State:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it goes on after its end")

    store.start_save(killed)
    write(store, b"two")
    assert wait(store) == f"{path} was not saved: the saving process ended with status -9"
    store.close()
    store = FileStore(path)
    assert whole(store.open()) == [b"one", b"two"]
    store.close()


def test_only_one_save_runs_at_a_time(path: str) -> None:
    store = FileStore(path)
    store.open()
    store.start_save(lambda: {"tree": []})
    with pytest.raises(SnapshotFailed, match="is being saved already"):
        store.start_save(lambda: {"tree": []})
    assert wait(store) is None
    store.close()


@pytest.mark.parametrize("end", [FileStore.close, lambda store: store.save(lambda: {"tree": [1]})])
def test_a_running_save_is_ended_by_a_newer_one_and_by_the_end(
    path: str, end: Callable[[FileStore], None]
) -> None:
    store = FileStore(path)
    store.open()

    def endless() -> State:
        signal.pause()
        raise AssertionError("it has come to an end")

    store.start_save(endless)
    end(store)
    assert store.save_fd is None
    store.close()
    assert "db.pkl.new" not in names(path)


def test_no_process_for_a_save_is_told(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    store = FileStore(path)
    store.open()
    write(store, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fork)
        with pytest.raises(SnapshotFailed, match="no process for it: Resource temporarily"):
            store.start_save(lambda: {"tree": []})
    assert "db.pkl.new" not in names(path)
    store.start_save(lambda: {"tree": [b"one"]})
    assert wait(store) is None
    store.close()


def test_a_save_whose_server_is_gone_harms_nobody(path: str) -> None:
    told, tell = os.pipe()
    hold, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        store = FileStore(path)
        store.open()
        write(store, b"one")
        kept = f"/proc/{os.getppid()}/fd/{hold}"

        def state() -> Any:
            with open(kept, "rb") as file:  # ends when the test says so
                file.read()
            return {"tree": ["stale"]}

        store.start_save(state)
        os.write(tell, b"saving")
        signal.pause()
        store.close()
        os._exit(0)
    os.close(tell)
    assert os.read(told, 6) == b"saving"
    os.close(told)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    store = FileStore(path)
    assert whole(store.open()) == [b"one"]
    store.start_save(lambda: {"tree": [b"one"]})
    os.close(go)
    assert wait(store) is None
    write(store, b"two")
    store.close()
    os.close(hold)
    store = FileStore(path)
    assert whole(store.open()) == [b"one", b"two"]
    store.close()


def test_a_name_that_the_disk_forgot_leaves_the_snapshot_before_and_its_records(
    path: str, tmp_path: Path
) -> None:
    disk = FaultyDisk(fault=broken())
    store = FileStore(path, disk=disk)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": [b"one"]})
    before = Path(path).read_bytes()
    write(store, b"two")
    disk.at = disk.calls + 12  # the sync of the folder after the rename
    with pytest.raises(SnapshotFailed, match="Input/output error"):
        store.save(lambda: {"tree": [b"one", b"two"]})
    assert disk.names_of_calls[-2:] == ["rename", "sync_folder"]
    write(store, b"three")
    store.close()
    for content in (Path(path).read_bytes(), before):
        folder = tmp_path / str(len(content))
        shutil.copytree(tmp_path, folder, ignore=shutil.ignore_patterns("[0-9]*"))
        (folder / "db.pkl").write_bytes(content)
        store = FileStore(folder / "db.pkl")
        assert whole(store.open()) == [b"one", b"two", b"three"]
        store.close()


# --- starts ---------------------------------------------------------------------------------


def test_the_journal_of_a_new_database_is_durable_before_anything_is_answered(path: str) -> None:
    disk = FaultyDisk()
    store = FileStore(path, disk=disk)
    store.open()
    assert disk.names_of_calls[-2:] == ["rename", "sync_folder"]
    assert names(path) == ["db.pkl.journal-000000000001", "db.pkl.lock"]
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
    part = part_name(path, 1)
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
    old = Path(part_name(path, 1)).read_bytes()
    store.save(lambda: {"tree": [b"one"]})
    store.close()
    for left in (part_name(path, 1), f"{path}.new", f"{path}.journal-new"):
        Path(left).write_bytes(old)
    store = FileStore(path)
    opened = store.open()
    assert (whole(opened), opened.notes) == ([b"one"], [])
    assert names(path) == ["db.pkl", "db.pkl.journal-000000000002", "db.pkl.lock"]
    store.close()


def test_a_saved_file_without_its_journal_is_opened_with_a_note(path: str) -> None:
    store = FileStore(path)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": [b"one"]})
    store.close()
    os.unlink(part_name(path, 2))
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
    part = Path(part_name(path, 1))
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


def test_a_read_only_store_takes_nothing() -> None:
    store = ReadOnlyStore()
    assert whole(store.open()) == []
    for refused in (
        lambda: store.reserve(1),
        lambda: store.append(b"one"),
        lambda: store.save(lambda: {"tree": []}),
        lambda: store.start_save(lambda: {"tree": []}),
    ):
        with pytest.raises(ReadOnlyError):
            refused()
    store.flush()
    assert (store.tick(), store.finish_save(), store.save_fd) == (None, None, None)
    store.close()

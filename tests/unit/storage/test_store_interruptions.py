"""A store whose work is interrupted at any step: killed, refused by its disk, or its child gone."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pyzdb.errors import SnapshotFailed, StorageError
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.saver import Save, SaveProcess
from pyzdb.storage.snapshot import State
from tests.support.disks import FaultyDisk, broken, die, fails_with, no_room
from tests.support.programs import forked
from tests.support.stores import names, wait, whole, write


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


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
        "db.pkl.synced",
    ]
    again.close()


@pytest.mark.needs("fork")
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


def saved_once(path: str, disk: Disk) -> FileStore:
    """An open store with one record that is saved, and another one since."""
    store = FileStore(path, disk=disk)
    store.open()
    write(store, b"one")
    store.save(lambda: {"tree": [b"one"]})
    write(store, b"two")
    return store


def test_a_child_that_fails_is_told_and_the_next_save_works(path: str) -> None:
    disk = FaultyDisk(fault=no_room())
    store = saved_once(path, disk)
    saved = Path(path).read_bytes()
    disk.at = disk.calls + 12  # the first write of the child
    store.start_save(lambda: {"tree": [b"one", b"two"]})
    disk.at = 0  # the disk of the child is a copy
    assert wait(store) == (f"{path} was not saved: OSError: [Errno 28] No space left on device")
    assert Path(path).read_bytes() == saved
    write(store, b"three")
    store.start_save(lambda: {"tree": [b"one", b"two", b"three"]})
    assert wait(store) is None
    assert names(path) == ["db.pkl", "db.pkl.journal-000000000004", "db.pkl.lock", "db.pkl.synced"]
    store.close()


@pytest.mark.needs("fork")
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


@pytest.mark.needs("fork")
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


def no_process(work: Callable[[], None], keep: int) -> Save:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.needs("fork")
def test_no_process_for_a_save_is_told(path: str) -> None:
    savers = [no_process, SaveProcess]
    store = FileStore(path, saver=lambda work, keep: savers.pop(0)(work, keep))
    store.open()
    write(store, b"one")
    with pytest.raises(SnapshotFailed, match="no process for it: Resource temporarily"):
        store.start_save(lambda: {"tree": []})
    assert "db.pkl.new" not in names(path)
    store.start_save(lambda: {"tree": [b"one"]})
    assert wait(store) is None
    store.close()


@pytest.mark.needs("fork")
def test_a_save_whose_server_is_gone_harms_nobody(path: str) -> None:
    hold, go = os.pipe()
    kept = f"/proc/{os.getpid()}/fd/{hold}"

    def state() -> Any:
        with open(kept, "rb") as file:  # ends when the test says so
            file.read()
        return {"tree": ["stale"]}

    def begin_to_save() -> FileStore:
        store = FileStore(path)
        store.open()
        write(store, b"one")
        store.start_save(state)
        return store

    with forked(begin_to_save):
        pass
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
    store = saved_once(path, disk)
    before = Path(path).read_bytes()
    disk.at = disk.calls + 15  # the sync of the folder after the rename
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

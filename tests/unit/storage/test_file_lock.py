"""One process at a time holds a database, and goes on holding it however it forks."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pyzdb.errors import FileInUse, StorageError
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_lock import FileLock, notice_of
from tests.support.programs import forked


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db.pkl")


def test_a_second_holder_is_refused_and_told_the_first(path: str) -> None:
    holder = FileLock(Disk(), path)
    with pytest.raises(FileInUse, match=rf"{path} is in use by pid {os.getpid()} on \S+"):
        FileLock(Disk(), path)
    holder.release()
    FileLock(Disk(), path).release()


def test_a_holder_leaves_a_notice_for_those_who_read(path: str) -> None:
    assert notice_of(Disk(), path) is None
    for notice in ("tcp://127.0.0.1:5562", "ipc://a", ""):
        holder = FileLock(Disk(), path, notice=notice)
        assert notice_of(Disk(), path) == (notice or None)
        with pytest.raises(FileInUse, match=rf"is in use by pid {os.getpid()} on \S+$"):
            FileLock(Disk(), path)
        holder.release()
        assert notice_of(Disk(), path) == (notice or None)


@pytest.mark.parametrize("content", [b"", b"pid 1 on a\n", b"pid 1 on a\ntcp://127.0.0"])
def test_a_notice_that_is_not_whole_is_none(path: str, content: bytes) -> None:
    Path(f"{path}.lock").write_bytes(content)
    assert notice_of(Disk(), path) is None


def test_the_lock_file_stays_and_is_private(path: str) -> None:
    FileLock(Disk(), path).release()
    lock = Path(f"{path}.lock")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    inode = lock.stat().st_ino
    FileLock(Disk(), path).release()
    assert lock.stat().st_ino == inode


def test_what_an_older_holder_said_does_not_matter(path: str) -> None:
    Path(f"{path}.lock").write_bytes(b"pid 1 on \xff a machine with a rather long name" * 10)
    holder = FileLock(Disk(), path)
    assert Path(f"{path}.lock").read_text().startswith(f"pid {os.getpid()} on ")
    holder.release()


@pytest.mark.needs("fork")
def test_a_killed_holder_holds_nothing(path: str) -> None:
    holding = forked(lambda: FileLock(Disk(), path))
    with holding as pid, pytest.raises(FileInUse, match=f"pid {pid} "):
        FileLock(Disk(), path)
    FileLock(Disk(), path).release()


def test_a_lock_that_cannot_be_opened_is_an_error_with_its_reason(path: str) -> None:
    os.mkdir(f"{path}.lock")
    with pytest.raises(StorageError, match=r"db\.pkl\.lock cannot be opened: Is a directory"):
        FileLock(Disk(), path)


class Lockless(Disk):
    """A file system that knows no locks."""

    def lock(self, fd: int) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_is_not_a_database_in_use(path: str) -> None:
    with pytest.raises(
        StorageError, match="cannot be locked: No locks available; the file sys"
    ) as e:
        FileLock(Lockless(), path)
    assert not isinstance(e.value, FileInUse)


def test_a_host_name_that_is_not_utf_8_is_written_as_it_is(path: str) -> None:
    holder = FileLock(Disk(), path, host=lambda: os.fsdecode(b"j\xfcrg"))
    assert Path(f"{path}.lock").read_bytes() == b"pid %d on j\xfcrg\n\n" % os.getpid()
    with pytest.raises(FileInUse, match="on j\ufffdrg"):
        FileLock(Disk(), path)
    holder.release()

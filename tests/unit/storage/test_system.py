"""What a disk asks of systems that this one is not: with their calls handed in, or ours gone."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pyzdb.errors import FileRefused, StorageError
from pyzdb.storage.disk import NOWHERE, ZERO_FILL, Disk, database_path
from pyzdb.storage.files import Files
from pyzdb.storage.system import Linux, MacOS, Posix, require, this_system
from pyzdb.values import File


class Commands:
    """The `fcntl` of macOS: what is asked of it is counted, and ``error`` is what a sync says."""

    F_FULLFSYNC = 51
    F_GETPATH = 50

    def __init__(self, error: int = 0) -> None:
        self.error = error
        self.syncs = 0
        self.renamed: dict[str, str] = {}

    def fcntl(self, fd: int, command: int, argument: bytes = b"") -> Any:
        if command == self.F_FULLFSYNC:
            self.syncs += 1
            if self.error:
                raise OSError(self.error, os.strerror(self.error))
            return 0
        assert command == self.F_GETPATH
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path.endswith(" (deleted)"):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return os.fsencode(self.renamed.get(path, path)).ljust(len(argument), b"\0")


class Mac(Disk):
    """A disk of macOS."""

    def __init__(self, error: int = 0) -> None:
        self.commands = Commands(error)
        self.system = MacOS(self.commands)


class Plain(Disk):
    """A disk of a system that tells no more than POSIX asks for."""

    system = Posix()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "file")


@pytest.mark.needs("proc", "O_PATH")
def test_what_there_is_decides_and_not_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(this_system()) is Linux
    monkeypatch.delattr(os, "O_PATH")
    assert type(this_system()) is Posix
    assert type(this_system(Commands())) is MacOS


# --- syncs -------------------------------------------------------------------------------------


def test_every_sync_of_macos_reaches_through_the_cache_of_the_drive(tmp_path: Path) -> None:
    disk = Mac()
    fd = disk.create(str(tmp_path / "file"))
    disk.datasync(fd)
    disk.sync(fd)
    disk.sync_folder(str(tmp_path))
    disk.close(fd)
    assert disk.commands.syncs == 3


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_the_full_sync_is_synced_as_it_can(path: str, number: int) -> None:
    disk = Mac(number)
    fd = disk.create(path)
    disk.datasync(fd)
    disk.close(fd)
    assert disk.commands.syncs == 1


def test_a_full_sync_that_failed_is_not_tried_in_another_way(path: str) -> None:
    disk = Mac(errno.EIO)
    fd = disk.create(path)
    for sync in (disk.datasync, disk.sync):
        with pytest.raises(OSError, match="Input/output error"):
            sync(fd)
    disk.close(fd)


# --- where things lie --------------------------------------------------------------------------


@pytest.mark.needs("proc", "O_PATH")
def test_macos_tells_where_a_folder_was_moved(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    os.mkdir(old)
    disk = Mac()
    disk.work_in(old)
    os.rename(old, new)
    assert disk.moved_to() == new
    fd = disk.create(f"{old}/a")
    assert disk.path_of(fd) == disk.real_path(f"{old}/a") == f"{old}/a"
    disk.link_held(fd, f"{old}/b")
    disk.close(fd)
    assert sorted(os.listdir(new)) == ["a", "b"]
    os.unlink(f"{new}/a")
    os.unlink(f"{new}/b")
    os.rmdir(new)
    assert disk.moved_to() == NOWHERE
    disk.leave()


def test_a_system_that_tells_nothing_works_on_in_a_folder_that_was_moved(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    os.mkdir(old)
    disk = Plain()
    disk.work_in(old)
    assert disk.moved_to() is None
    assert disk.real_path(f"{old}/a") == f"{old}/a"
    os.rename(old, new)
    os.mkdir(old)
    assert disk.moved_to() == NOWHERE
    fd = disk.create(f"{old}/a")
    assert (disk.path_of(fd), disk.real_path(f"{old}/a")) == ("", f"{old}/a")
    disk.close(fd)
    assert (os.listdir(old), os.listdir(new)) == ([], ["a"])
    disk.leave()


# --- files that are taken ----------------------------------------------------------------------


def test_holding_a_file_of_macos_waits_for_nothing(tmp_path: Path) -> None:
    disk = Mac()
    names = {name: str(tmp_path / name) for name in ("pipe", "link", "folder", "file")}
    os.mkfifo(names["pipe"])
    os.symlink(names["file"], names["link"])
    os.mkdir(names["folder"])
    Path(names["file"]).write_bytes(b"content")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="not a regular file"):
            disk.hold(names[name])
    disk.close(disk.hold(names["folder"]))
    held = disk.hold(names["file"])
    opened = disk.reopen(held)
    assert disk.read(opened, 10, 0) == b"content"
    disk.close(opened)
    disk.close(held)


@pytest.mark.needs("proc", "O_PATH")
def test_a_file_of_macos_whose_name_leads_elsewhere_is_not_linked(tmp_path: Path) -> None:
    one, other, target = (str(tmp_path / name) for name in ("one", "other", "target"))
    Path(one).write_bytes(b"one")
    Path(other).write_bytes(b"other")
    disk = Mac()
    held = disk.hold(one)
    disk.commands.renamed[one] = other
    with pytest.raises(OSError, match="Invalid cross-device link"):
        disk.link_held(held, target)
    disk.close(held)
    assert not os.path.exists(target)


@pytest.mark.needs("proc")
@pytest.mark.parametrize("disk", [Disk(), Mac(), Plain()], ids=lambda disk: type(disk).__name__)
def test_a_large_file_is_taken_where_the_system_tells_which_one_it_is(
    disk: Disk, tmp_path: Path
) -> None:
    source = tmp_path / "in" / "film.mkv"
    source.parent.mkdir()
    source.write_bytes(b"content")
    files = Files(disk, str(tmp_path / "bigfiles"), [str(source.parent)])
    if disk.system.path_of(0) is None:
        with pytest.raises(FileRefused, match="does not tell where an open file lies"):
            files.take(File(str(source)))
        assert source.exists()
    else:
        taken = files.take(File(str(source)))
        taken.commit()
        assert Path(str(taken.file.location)).read_bytes() == b"content"
        assert not source.exists()
    taken = files.take(File(filename="notes", content=b"more"))
    assert Path(str(taken.file.location)).read_bytes() == b"more"


# --- room --------------------------------------------------------------------------------------


def test_room_is_written_where_it_cannot_be_asked_for(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    _make_room(path)


def test_room_is_written_on_a_file_system_that_makes_none(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    _make_room(path)


def _make_room(path: str) -> None:
    disk = Disk()
    fd = disk.create(path)
    disk.allocate(fd, 1, 2 * ZERO_FILL + 1)
    assert disk.size(fd) == 2 * ZERO_FILL + 2
    disk.drop_cache(fd, 0, ZERO_FILL)
    disk.close(fd)
    assert not any(disk.content(path))


# --- what there must be ------------------------------------------------------------------------


def test_a_system_that_lacks_what_a_database_needs_is_refused_in_a_line(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require()
    monkeypatch.delattr(os, "pread")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StorageError, match=r"Python lacks fcntl, os\.pread$"):
        database_path(path)
    monkeypatch.undo()
    monkeypatch.setattr(os, "supports_dir_fd", set())
    with pytest.raises(StorageError, match=r"Python lacks dir_fd$"):
        require()


def test_files_are_locked_where_there_are_locks(path: str) -> None:
    disk = Plain()
    one, other = disk.create(path), disk.open(path)
    assert disk.lock(one)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    disk.close(one)
    disk.close(other)

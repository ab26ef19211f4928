"""The calls to the file system: whole writes, private files, errors with their reason."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pyzdb.errors import StorageError
from pyzdb.storage.disk import (
    ZERO_FILL,
    Disk,
    damage,
    database_path,
    free_name,
    refuse_mount,
    remove,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "file")


def test_a_created_file_is_readable_by_its_owner_only(path: str) -> None:
    disk = Disk()
    disk.close(disk.create(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_an_exclusive_file_never_takes_the_place_of_another(path: str) -> None:
    disk = Disk()
    disk.close(disk.create(path, exclusive=True))
    with pytest.raises(FileExistsError):
        disk.create(path, exclusive=True)


def test_what_was_written_is_read_at_its_offset(path: str) -> None:
    disk = Disk()
    fd = disk.create(path)
    disk.write(fd, b"abcdef", 10)
    assert disk.read(fd, 100, 8) == b"\0\0abcdef"
    assert disk.read(fd, 2, 12) == b"cd"
    assert disk.read(fd, 5, 100) == b""
    assert disk.size(fd) == 16
    disk.close(fd)
    assert disk.content(path) == bytes(10) + b"abcdef"


def test_a_short_write_is_continued(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:3], at))
    disk = Disk()
    fd = disk.create(path)
    disk.write(fd, b"0123456789", 0)
    disk.close(fd)
    assert disk.content(path) == b"0123456789"


def test_a_write_that_gets_nowhere_is_a_full_disk(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    disk = Disk()
    fd = disk.create(path)
    with pytest.raises(OSError, match="No space") as raised:
        disk.write(fd, b"0123456789", 0)
    disk.close(fd)
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("size", [1, ZERO_FILL, ZERO_FILL + 1])
def test_room_reads_as_zeros(path: str, size: int) -> None:
    disk = Disk()
    fd = disk.create(path)
    disk.write(fd, b"x", 0)
    disk.allocate(fd, 1, size)
    disk.close(fd)
    assert disk.content(path) == b"x" + bytes(size)


def test_a_renamed_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    disk = Disk()
    disk.rename(str(tmp_path / "new"), str(tmp_path / "old"))
    disk.sync_folder(str(tmp_path))
    assert disk.names(str(tmp_path)) == ["old"]
    assert disk.content(str(tmp_path / "old")) == b"new"


def test_another_file_of_the_same_name_has_another_identity(path: str) -> None:
    disk = Disk()
    assert disk.identity(path) is None
    Path(path).write_bytes(b"one")
    before = disk.identity(path)
    assert before == disk.identity(path)
    Path(path + "2").write_bytes(b"two")
    disk.rename(path + "2", path)
    assert disk.identity(path) != before


def test_removing_what_is_gone_is_no_error(path: str) -> None:
    Path(path).write_bytes(b"")
    remove(Disk(), path)
    remove(Disk(), path)
    assert not os.path.exists(path)


def test_a_free_name_is_one_that_no_file_has(path: str) -> None:
    disk = Disk()
    assert free_name(disk, path) == path
    Path(path).write_bytes(b"")
    assert free_name(disk, path) == f"{path}-2"
    Path(f"{path}-2").write_bytes(b"")
    assert free_name(disk, path) == f"{path}-3"


def test_a_database_is_where_its_link_points(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.pkl").symlink_to(tmp_path / "real" / "db.pkl")
    assert database_path(tmp_path / "link.pkl") == str(tmp_path / "real" / "db.pkl")


def test_a_database_needs_a_folder_and_is_none(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"no folder {tmp_path}/missing"):
        database_path(tmp_path / "missing" / "db.pkl")
    with pytest.raises(StorageError, match="it is a folder"):
        database_path(tmp_path)


def test_damage_names_the_file_and_the_offset() -> None:
    error = damage("db.pkl", 41, "its checksum is wrong")
    assert str(error) == "db.pkl is damaged at offset 41: its checksum is wrong"
    assert (error.filename, error.offset) == ("db.pkl", 41)


MOUNTED = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
36 22 254:0 /home/volume/db.pkl /app/my\040data/db.pkl rw,relatime shared:1 - ext4 /dev/root rw
37 22 0:40 / /app/folder rw,relatime shared:2 - tmpfs tmpfs rw
"""


def test_a_file_that_is_mounted_by_itself_is_no_database(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTED.lstrip())
    with pytest.raises(StorageError, match="mount the whole folder /app/my data"):
        refuse_mount("/app/my data/db.pkl", str(table))
    refuse_mount("/app/folder/db.pkl", str(table))
    refuse_mount("/app/my data/other.pkl", str(table))
    refuse_mount(str(tmp_path / "db.pkl"))
    refuse_mount("/app/my data/db.pkl", str(tmp_path / "no such table"))


def test_what_cannot_be_locked_is_not_taken_for_locked(path: str) -> None:
    disk = Disk()
    fd = disk.create(path)
    other = disk.open(path)
    assert disk.lock(fd)
    assert not disk.lock(other)
    disk.close(other)
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.lock(other)
    disk.close(fd)


def test_a_folder_is_worked_in_wherever_it_is_moved(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    os.mkdir(old)
    disk = Disk()
    disk.work_in(old)
    assert disk.moved_to() is None
    os.rename(old, new)
    assert disk.moved_to() == new
    os.mkdir(old)
    assert disk.moved_to() == new
    fd = disk.create(f"{old}/a")
    assert (
        disk.path_of(fd) == disk.real_path(f"{old}/a") == disk.real_path(f"{new}/a") == f"{old}/a"
    )
    disk.close(fd)
    disk.make_folder(f"{old}/b")
    disk.rename(f"{old}/a", f"{old}/b/c")
    disk.link(f"{old}/b/c", f"{old}/d")
    held = disk.hold(f"{old}/d")
    disk.link_held(held, f"{old}/e")
    disk.close(held)
    disk.unlink(f"{old}/d")
    disk.sync_folder(old)
    assert disk.names(old) == sorted(os.listdir(new)) == ["b", "e"]
    assert disk.names(f"{old}/b") == ["c"]
    assert (disk.content(f"{old}/e"), disk.exists(f"{old}/e")) == (b"", True)
    identity = disk.identity(f"{old}/e")
    assert identity is not None
    assert disk.identity(f"{old}/b/c") == identity
    assert os.listdir(old) == []
    disk.leave()
    assert not disk.exists(f"{old}/e")

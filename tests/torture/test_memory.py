"""The disk in memory: what it may lose, and what it may not."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from pyzdb.storage.disk import Disk
from tests.torture.memory import MemoryDisk

LOSSES = 300
"""Times that the power is lost: enough that every outcome of a small disk is seen."""


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


def write(disk: MemoryDisk, path: str, content: bytes, sync: bool = True) -> int:
    fd = disk.create(path)
    disk.write(fd, content, 0)
    if sync:
        disk.sync(fd)
    return fd


def left(disk: MemoryDisk, path: str) -> set[bytes | None]:
    """Every content that the file may have after a power loss; None: there is no such file."""
    lost = [disk.after_loss(Random(seed)) for seed in range(LOSSES)]
    return {each.content(path) if each.exists(path) else None for each in lost}


def test_every_call_to_the_file_system_is_replaced() -> None:
    calls = {name for name in vars(Disk) if not name.startswith("_")}
    # The one calls `reader`, the other is asked by the calls that are replaced.
    assert calls - set(vars(MemoryDisk)) == {"content", "system"}


def test_what_is_synced_with_its_folder_is_there_for_certain(disk: MemoryDisk) -> None:
    write(disk, "/a", b"content")
    disk.sync_folder("/")
    assert disk.is_synced
    assert left(disk, "/a") == {b"content"}


def test_a_file_that_is_synced_may_lose_its_name(disk: MemoryDisk) -> None:
    write(disk, "/a", b"content")
    assert left(disk, "/a") == {None, b"content"}


def test_a_write_that_is_not_synced_may_be_lost_torn_or_zeros(disk: MemoryDisk) -> None:
    fd = write(disk, "/a", b"")
    disk.sync_folder("/")
    disk.write(fd, b"x" * 1000, 0)
    found = left(disk, "/a")
    assert found == {
        b"",
        b"x" * 1000,
        bytes(1000),
        b"x" * 512 + bytes(488),
        bytes(512) + b"x" * 488,
    }


def test_a_later_write_in_a_sector_is_never_there_without_the_earlier(disk: MemoryDisk) -> None:
    fd = write(disk, "/a", bytes(512))
    disk.sync_folder("/")
    disk.write(fd, b"1", 0)
    disk.write(fd, b"2", 1)
    assert {content and content[:2] for content in left(disk, "/a")} == {b"\0\0", b"1\0", b"12"}


def test_a_later_write_may_be_there_without_an_earlier_one_elsewhere(disk: MemoryDisk) -> None:
    fd = write(disk, "/a", bytes(1024))
    disk.sync_folder("/")
    disk.write(fd, b"1", 0)
    disk.write(fd, b"2", 512)
    assert b"\0" * 512 + b"2" + b"\0" * 511 in left(disk, "/a")


def test_a_cut_that_is_not_synced_may_be_undone(disk: MemoryDisk) -> None:
    fd = write(disk, "/a", b"12345")
    disk.sync_folder("/")
    disk.truncate(fd, 2)
    assert left(disk, "/a") == {b"12345", b"12", b"12\0\0\0"}


def test_a_rename_is_done_as_a_whole_or_not_at_all(disk: MemoryDisk) -> None:
    write(disk, "/a", b"old")
    write(disk, "/b", b"new")
    disk.sync_folder("/")
    disk.rename("/b", "/a")
    lost = [disk.after_loss(Random(seed)) for seed in range(LOSSES)]
    assert {(each.content("/a"), each.exists("/b")) for each in lost} == {
        (b"old", True),
        (b"new", False),
    }


def test_a_file_is_never_there_without_the_folder_it_lies_in(disk: MemoryDisk) -> None:
    disk.make_folder("/folder")
    write(disk, "/folder/a", b"content")
    disk.sync_folder("/folder")
    lost = [disk.after_loss(Random(seed)) for seed in range(LOSSES)]
    assert {each.exists("/folder/a") for each in lost} == {True, False}
    assert all(each.exists("/folder") for each in lost if each.exists("/folder/a"))


def test_removed_names_come_back_one_by_one(disk: MemoryDisk) -> None:
    for name in ("/a", "/b"):
        write(disk, name, b"")
    disk.sync_folder("/")
    disk.unlink("/a")
    disk.unlink("/b")
    lost = [disk.after_loss(Random(seed)) for seed in range(LOSSES)]
    assert {tuple(each.names("/")) for each in lost} == {(), ("a",), ("b",), ("a", "b")}


def test_it_fails_as_a_file_system_does(disk: MemoryDisk) -> None:
    write(disk, "/a", b"")
    with pytest.raises(FileExistsError):
        disk.create("/a", exclusive=True)
    with pytest.raises(FileExistsError):
        disk.link("/a", "/a")
    for call in (disk.open, disk.unlink, disk.reader):
        with pytest.raises(FileNotFoundError):
            call("/b")
    assert disk.identity("/b") is None


def test_a_second_name_leads_to_the_same_file(disk: MemoryDisk) -> None:
    fd = write(disk, "/a", b"1")
    disk.link_held(fd, "/b")
    disk.write(fd, b"2", 0)
    assert disk.content("/b") == b"2"
    assert disk.identity("/a") == disk.identity("/b")


def test_files_can_be_kept_for_somebody_to_look_at(disk: MemoryDisk, tmp_path: Path) -> None:
    write(disk, "/a", b"content")
    disk.make_folder("/folder")
    disk.keep_in(tmp_path / "kept")
    assert os.listdir(tmp_path / "kept") == ["a"]
    assert (tmp_path / "kept" / "a").read_bytes() == b"content"

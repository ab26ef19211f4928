"""How far a database is durable, as its server tells it and others read it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pyzdb.storage.disk import Disk
from pyzdb.storage.published import Published, published


class FullDisk(Disk):
    """Has no room for a note while it ``is_full``."""

    is_full = True

    def note(self, fd: int, data: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().note(fd, data)


def test_what_was_told_last_is_read(tmp_path: Path) -> None:
    filename = str(tmp_path / "db.pkl")
    assert published(Disk(), filename) is None
    note = Published(Disk(), filename)
    assert not note.began
    for sequence in (0, 7, 7, 300):
        note.tell(sequence)
        assert published(Disk(), filename) == sequence
    assert note.began
    note.close()
    note.close()
    assert published(Disk(), filename) == 300


@pytest.mark.parametrize("damage", [b"", b"short", bytes(11) + b"x", bytes(13)])
def test_a_note_that_is_not_whole_says_nothing(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "db.pkl.synced").write_bytes(damage)
    assert published(Disk(), str(tmp_path / "db.pkl")) is None


def test_a_note_that_cannot_be_written_is_told_once_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk, filename = FullDisk(), str(tmp_path / "db.pkl")
    note = Published(disk, filename)
    note.tell(1)
    note.tell(2)
    assert [record.getMessage() for record in caplog.records] == [
        f"read-only servers lag behind: {filename}.synced: {os.strerror(errno.ENOSPC)}"
    ]
    disk.is_full = False
    note.tell(3)
    assert published(disk, filename) == 3
    disk.is_full = True
    note.tell(4)
    assert len(caplog.records) == 2
    note.close()

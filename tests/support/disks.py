"""Disks that do what real ones do on a bad day, for the tests of all that is stored."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from pyzdb.storage.disk import Disk, Identity


class FaultyDisk(Disk):
    """Counts the calls that change what is on the disk, and does ``fault`` in place of call
    number ``at``; a write may be ``half`` done by then. Nothing is synced: it only counts."""

    def __init__(
        self, at: int = 0, fault: Callable[[], NoReturn] | None = None, half: bool = False
    ) -> None:
        self.at = at
        self.fault = fault
        self.half = half
        self.calls = 0
        self.names_of_calls: list[str] = []

    def _is_due(self, name: str) -> bool:
        self.calls += 1
        self.names_of_calls.append(name)
        return self.calls == self.at

    def _call(self, name: str) -> None:
        if self._is_due(name) and self.fault:
            self.fault()

    def create(self, path: str, exclusive: bool = False) -> int:
        self._call("create")
        return super().create(path, exclusive)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        if self._is_due("write") and self.fault:
            if self.half:
                super().write(fd, data[: len(data) // 2], offset)
            self.fault()
        super().write(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate")
        super().truncate(fd, size)

    def datasync(self, fd: int) -> None:
        self._call("datasync")

    def sync(self, fd: int) -> None:
        self._call("sync")

    def sync_folder(self, path: str) -> None:
        self._call("sync_folder")

    def rename(self, source: str, target: str) -> None:
        self._call("rename")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._call("unlink")
        super().unlink(path)


class SmallDisk(Disk):
    """Has room for ``free`` bytes more; each file that is made takes ``NAME`` of them."""

    NAME = 1_000

    def __init__(self, free: int) -> None:
        self.free = free

    def _take(self, size: int) -> None:
        if size > self.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free -= size

    def _freed_by_loss_of(self, path: str) -> int:
        identity = self.identity(path)
        return 0 if identity is None else identity[2] + self.NAME

    def create(self, path: str, exclusive: bool = False) -> int:
        if not self.exists(path):
            self._take(self.NAME)
        return super().create(path, exclusive)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        self._take(max(0, offset + len(data) - self.size(fd)))
        super().write(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self.free += max(0, self.size(fd) - size)
        super().truncate(fd, size)

    def rename(self, source: str, target: str) -> None:
        self.free += self._freed_by_loss_of(target)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.free += self._freed_by_loss_of(path)
        super().unlink(path)

    def datasync(self, fd: int) -> None:
        pass

    def sync(self, fd: int) -> None:
        pass


class MeddlingDisk(Disk):
    """A disk on which ``deed`` is done at the last of ``calls_left`` calls that read."""

    def __init__(self, deed: Callable[[], None] = lambda: None) -> None:
        self.deed = deed
        self.calls_left = 0

    def _call(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.deed()

    def open(self, path: str, write: bool = False) -> int:
        self._call()
        return super().open(path, write)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._call()
        return super().read(fd, size, offset)

    def names(self, folder: str) -> list[str]:
        self._call()
        return super().names(folder)

    def exists(self, path: str) -> bool:
        self._call()
        return super().exists(path)

    def identity(self, path: str) -> Identity | None:
        self._call()
        return super().identity(path)

    def reader(self, path: str) -> BinaryIO:
        self._call()
        return super().reader(path)


def fails_with(number: int) -> Callable[[], NoReturn]:
    """A fault that is an error of the system."""

    def fault() -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fault


def no_room() -> Callable[[], NoReturn]:
    return fails_with(errno.ENOSPC)


def broken() -> Callable[[], NoReturn]:
    return fails_with(errno.EIO)


def die() -> NoReturn:
    """A fault that is a kill: the process is gone, and what it wrote is there."""
    os._exit(9)

"""macOS: `fsync` leaves what it writes in the cache of the drive, and `F_FULLFSYNC` does not."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from pyzdb.storage.system.posix import NOT_SUPPORTED, Posix

PATH_SIZE = 1024
"""Bytes of the longest path that `F_GETPATH` tells: MAXPATHLEN."""

NO_FULL_SYNC = NOT_SUPPORTED | {errno.ENOTTY}
"""What a file system says that does not know `F_FULLFSYNC`, one of a network for instance: there
`fsync` is all that can be had. Any other error is that of the disk, and no second try may hide
it."""


class MacOS(Posix):
    """With the commands of its ``fcntl`` (the module)."""

    def __init__(self, fcntl: Any) -> None:
        self._fcntl = fcntl

    def sync(self, fd: int) -> None:
        try:
            self._fcntl.fcntl(fd, self._fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in NO_FULL_SYNC:
                raise
            os.fsync(fd)

    def datasync(self, fd: int) -> None:
        self.sync(fd)

    def path_of(self, fd: int) -> str:
        try:
            told = self._fcntl.fcntl(fd, self._fcntl.F_GETPATH, bytes(PATH_SIZE))
        except OSError:  # it has no name any more
            return ""
        return os.fsdecode(told.rstrip(b"\0"))

    def hold(self, name: str, folder: int | None) -> int:
        # Here holding is opening, which could wait for the other end of a pipe or move a tape.
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "it is not a regular file")
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        return os.open(name, how, dir_fd=folder)

    def link_held(self, fd: int, name: str, folder: int | None) -> None:
        try:
            os.link(self.path_of(fd), name, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            super().link_held(fd, name, folder)
        # The path may have led to another file by then.
        linked = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not os.path.samestat(linked, os.fstat(fd)):
            os.unlink(name, dir_fd=folder)
            super().link_held(fd, name, folder)

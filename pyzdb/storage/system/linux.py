"""Linux: a file can be held without being opened, and has a path by its descriptor."""

from __future__ import annotations

import os

from pyzdb.storage.system.posix import Posix

BY_NUMBER = "/proc/self/fd"
"""Where each descriptor of this process is a link to what it holds, as in proc(5)."""


class Linux(Posix):
    """With /proc, and `O_PATH` to hold what is not opened."""

    def path_of(self, fd: int) -> str:
        return os.readlink(_by_number(fd))

    def hold(self, name: str, folder: int | None) -> int:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)

    def reopen(self, fd: int) -> int:
        return os.open(_by_number(fd), os.O_RDONLY)

    def link_held(self, fd: int, name: str, folder: int | None) -> None:
        # Python follows the link only in linkat, which it calls when there is a folder.
        os.link(_by_number(fd), name, src_dir_fd=fd, dst_dir_fd=folder, follow_symlinks=True)


def _by_number(fd: int) -> str:
    return f"{BY_NUMBER}/{fd}"

"""The calls to the file system, all in one place.

Every file that a database writes goes through a `Disk`, so that a test can put a subclass in
its place that records each step, fails at one, or ends the process there. Rules:

- A write is whole or it is an error. A short write is continued, which brings the reason to light.
- The folder that it works in is reached by its descriptor: whatever its path leads to later, what
  is done under that path is done in the folder that was there at first.
- What is created is readable by its owner only.
- Errors are the OSError of the system; the caller knows what they mean for the data.
- What not every system has is left to `system`, an object of the package pyzdb/storage/system.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import closing, suppress
from typing import BinaryIO

from pyzdb.errors import CorruptFile, FilesReplaced, NewerFormat, StorageError
from pyzdb.storage.system import Posix, require, this_system

FILE_MODE = 0o600
FOLDER_MODE = 0o700

ZERO_FILL = 1 << 20
"""Bytes up to which room is made by writing zeros. An append into written blocks changes no
metadata of the file, so its sync is one write. More than this is left to the system where it can
do it: to write a large record twice would cost more than the metadata."""

NOWHERE = "a place that this system does not name"
"""What is said of a folder that was moved when nothing tells where to."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a file cannot grow: the disk, the quota, the limit of a file."""

MOUNTS = "/proc/self/mountinfo"
MOUNT_POINT = 4
"""The table of what is mounted, and which field of its lines is the path, as in proc(5): a space
in it is written as a backslash and three octal digits."""

_ESCAPED = re.compile(rb"\\([0-7]{3})")

TAKEN = frozenset({errno.EAGAIN, errno.EACCES})
"""What the system says when another process has locked a file."""


Identity = tuple[int, int, int, int]
"""What tells a file from another one of the same name: device, inode, size, time of change."""


def identity_of(status: os.stat_result) -> Identity:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def database_path(filename: str | os.PathLike[str]) -> str:
    """The real path of a database file: its journal and lock lie beside what a link points to.

    Raises StorageError when its folder does not exist or when it is a folder itself, and on a
    system that can keep no database.
    """
    require()
    try:
        path = os.path.realpath(os.fspath(filename))
    except FileNotFoundError:
        raise StorageError(
            f"{os.fspath(filename)} cannot be found: the current folder is gone; name the database "
            "by its full path"
        ) from None
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StorageError(f"{path} cannot be a database: there is no folder {folder}")
    if os.path.isdir(path):
        raise StorageError(f"{path} cannot be a database: it is a folder")
    return path


def refuse_mount(path: str, mounts: str = MOUNTS) -> None:
    """Raise StorageError for a database file that is itself a mount point. ``path`` is its real
    path, ``mounts`` the file with the table of mounts.

    A save could not take its place, and the journal beside it would lie elsewhere.
    """
    try:
        with open(mounts, "rb") as table:
            points = [line.split(b" ")[MOUNT_POINT] for line in table]
    except FileNotFoundError:  # nothing tells what is mounted here
        return
    if os.fsencode(path) in map(_unescaped, points):
        raise StorageError(
            f"{path} is mounted as a single file, so it cannot be replaced by a save, and its "
            f"journal is not kept where it is: mount the whole folder {os.path.dirname(path)}"
        )


def _unescaped(field: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field)


class Disk:
    """The file system of this machine; file descriptors are ints, paths are str.

    `work_in` holds one folder; paths in it are from then on those that it had at that moment.
    """

    system: Posix = this_system()

    _folder = ""
    _inside = ""
    _folder_fd: int | None = None

    # --- the folder that is held -----------------------------------------------------------

    def work_in(self, folder: str) -> None:
        """Hold a folder, given by its real path, in place of the one before."""
        self.leave()
        self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._folder, self._inside = folder, os.path.join(folder, "")

    def leave(self) -> None:
        """Let go of the folder; its path is a path like any other again."""
        if self._folder_fd is not None:
            os.close(self._folder_fd)
        self._folder_fd, self._folder, self._inside = None, "", ""

    def moved_to(self) -> str | None:
        """The path that the folder has by now; None while it is where it was when it was opened."""
        if self._folder_fd is None:
            return None
        try:
            there = os.stat(self._folder)
        except OSError:
            pass
        else:
            if os.path.samestat(there, os.fstat(self._folder_fd)):
                return None
        return self.system.path_of(self._folder_fd) or NOWHERE

    def names_changed(self) -> int:
        """When a name in the folder was last made, changed or removed (nanoseconds, by the clock
        of the file system)."""
        return 0 if self._folder_fd is None else os.fstat(self._folder_fd).st_mtime_ns

    def _at(self, path: str) -> tuple[str, int | None]:
        """A path as the calls of the system take it, and the descriptor of the folder that it
        begins from."""
        if self._folder_fd is not None:
            if path.startswith(self._inside):
                return path[len(self._inside) :] or ".", self._folder_fd
            if path == self._folder:
                return ".", self._folder_fd
        return path, None

    def _path_now(self, folder_fd: int) -> str:
        """The path of the folder now, or the one that it had where the system does not tell."""
        return self.system.path_of(folder_fd) or self._folder

    def _path_before(self, path: str) -> str:
        """A real path with the one that the folder had at first, if it leads into the folder."""
        if self._folder_fd is None:
            return path
        now = self._path_now(self._folder_fd)
        inside = path == now or path.startswith(os.path.join(now, ""))
        return self._folder + path[len(now) :] if inside else path

    # --- files -----------------------------------------------------------------------------

    def _fd_of(self, path: str, how: int) -> int:
        name, folder = self._at(path)
        return os.open(name, how, FILE_MODE, dir_fd=folder)

    def create(self, path: str, exclusive: bool = False) -> int:
        """Open a new, empty file for reading and writing. Raises FileExistsError if exclusive."""
        return self._fd_of(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if exclusive else os.O_TRUNC))

    def open_or_create(self, path: str) -> int:
        """Open a file for reading and writing, as it is if there is one."""
        return self._fd_of(path, os.O_RDWR | os.O_CREAT)

    def open(self, path: str, write: bool = False) -> int:
        """Open a file that exists."""
        return self._fd_of(path, os.O_RDWR if write else os.O_RDONLY)

    def open_lock(self, path: str) -> int:
        """Open a file that serves only to be locked; it is made if it is not there."""
        return self._fd_of(path, os.O_RDWR | os.O_CREAT)

    def lock(self, fd: int) -> bool:
        """Lock an open file until it is closed; False when it is locked already.

        Raises OSError when the file system cannot lock.
        """
        # Only here: it cannot be imported on a system that `require` refuses in a line.
        import portalocker

        try:
            portalocker.lock(fd, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            reason = error.args[0]
            if not isinstance(reason, OSError):  # an odd answer of a network's file system
                raise OSError(errno.ENOLCK, str(reason)) from None
            if reason.errno not in TAKEN:
                raise reason from None
            return False
        return True

    def sign(self, fd: int, name: bytes) -> None:
        """Write into a lock file who holds it. The lock holds also if there is no room for that."""
        with suppress(OSError):
            # In this order nobody who reads it finds it empty.
            os.pwrite(fd, name, 0)
            os.ftruncate(fd, len(name))

    def hold(self, path: str) -> int:
        """Get hold of whatever lies there: nothing is read, nothing waits.

        A symbolic link is held itself or refused; `reopen` opens what is held.
        """
        return self.system.hold(*self._at(path))

    def reopen(self, fd: int) -> int:
        """Open the file that a descriptor holds, wherever its name leads by now, for reading."""
        return self.system.reopen(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            more = os.pwrite(fd, memoryview(data)[done:], offset + done)
            if more == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += more

    def note(self, fd: int, data: bytes) -> None:
        """Write some bytes to the start of a file in one piece. They need not be durable."""
        os.pwrite(fd, data, 0)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read at most ``size`` bytes at ``offset``; fewer only at the end of the file."""
        data = os.pread(fd, size, offset)
        while 0 < len(data) < size:
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """Take room for what is going to be written at the end of a file; it reads as zeros."""
        if size > ZERO_FILL and self.system.allocate(fd, offset, size):
            return
        for at in range(offset, offset + size, ZERO_FILL):
            self.write(fd, bytes(min(ZERO_FILL, offset + size - at)), at)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def datasync(self, fd: int) -> None:
        """Return when the content and the length of the file are on the disk."""
        self.system.datasync(fd)

    def sync(self, fd: int) -> None:
        """Return when the file is on the disk, its owner, mode and times included."""
        self.system.sync(fd)

    def drop_cache(self, fd: int, offset: int, size: int) -> None:
        """Let the system reuse the memory in which it caches a part of a file that was synced."""
        self.system.drop_cache(fd, offset, size)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, in one step and in place of the file that has it."""
        (old, old_folder), (new, new_folder) = self._at(source), self._at(target)
        os.replace(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name. Raises FileExistsError when the name is taken."""
        (old, old_folder), (new, new_folder) = self._at(source), self._at(target)
        os.link(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder, follow_symlinks=False)

    def link_held(self, fd: int, target: str) -> None:
        """Give the file that a descriptor holds a second name, as `link` does."""
        self.system.link_held(fd, *self._at(target))

    def unlink(self, path: str) -> None:
        name, folder = self._at(path)
        os.unlink(name, dir_fd=folder)

    def make_folder(self, path: str) -> None:
        name, folder = self._at(path)
        os.mkdir(name, FOLDER_MODE, dir_fd=folder)

    def sync_folder(self, path: str) -> None:
        """Return when the names in a folder are on the disk."""
        if self._folder_fd is not None and path == self._folder:
            # Without a descriptor more: when a name was changed, nothing may be wanting for this.
            self.sync(self._folder_fd)
            return
        fd = self._fd_of(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted."""
        fd = self._fd_of(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        name, folder = self._at(path)
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def real_path(self, path: str) -> str:
        """The path with every symbolic link in it resolved, as far as it exists."""
        name, folder = self._at(path)
        if folder is None:
            return self._path_before(os.path.realpath(path))
        return self._path_before(os.path.realpath(os.path.join(self._path_now(folder), name)))

    def path_of(self, fd: int) -> str:
        """The real path of what a descriptor holds; empty when it has none that can be told."""
        return self._path_before(self.system.path_of(fd) or "")

    def status(self, fd: int) -> os.stat_result:
        """Type, size, times and identity of what a descriptor holds."""
        return os.fstat(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def identity(self, path: str) -> Identity | None:
        """The identity of a file; None when there is none."""
        name, folder = self._at(path)
        try:
            return identity_of(os.stat(name, dir_fd=folder))
        except FileNotFoundError:
            return None

    def reader(self, path: str) -> BinaryIO:
        """A file object to read from the start."""
        return os.fdopen(self.open(path), "rb")

    def content(self, path: str) -> bytes:
        """All bytes of a file."""
        with closing(self.reader(path)) as file:
            return file.read()


def remove(disk: Disk, path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return


def free_name(disk: Disk, path: str) -> str:
    """``path``, or the first of ``path-2``, ``path-3``... that no file has yet."""
    number, name = 1, path
    while disk.exists(name):
        number += 1
        name = f"{path}-{number}"
    return name


def damage(filename: str, offset: int, why: str) -> CorruptFile:
    """The error for damage at ``offset`` (bytes) of a file."""
    return CorruptFile(f"{filename} is damaged at offset {offset}: {why}", filename, offset)


def replaced(path: str, now: Identity | None) -> FilesReplaced:
    """The error for a file that is not the one that it was; ``now`` is what is there."""
    how = "removed" if now is None else "replaced"
    return FilesReplaced(f"{path} was {how} under the server, which writes nothing any more")


def newer(filename: str) -> NewerFormat:
    """The error for a file in a format that this version does not know yet."""
    return NewerFormat(
        f"{filename} was written by a newer version of pyzdb: serve it with that version, or put "
        "an older copy of the database in its place"
    )

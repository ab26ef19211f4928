"""A disk in memory that knows what a power loss may leave of it.

What is written is kept twice: as a process sees it, and as it is on the disk for certain. What lies
between the two are changes that nothing has synced. A power loss keeps some of them, by these
rules, which are those of a file system that journals its metadata:

- A sync of a file vouches for its content and its length, not for its name; a sync of a folder
  for the names in it.
- Of a file that was not synced, every sector of 512 bytes is as some write left it, or as it was
  before: later sectors may be newer than earlier ones, and a write may be torn at each sector.
- Its length is one of those that it has had since; where that reaches beyond what was written,
  there are zeros.
- Names are created, renamed and removed each as a whole. Those that were not synced may be lost
  one by one, but never one that builds on another which is lost.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import BinaryIO, NamedTuple

from pyzdb.engine.database import SNAPSHOT_BYTES, Database
from pyzdb.storage.disk import FILE_MODE, FOLDER_MODE, Disk, Identity, identity_of
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.files import Files
from pyzdb.storage.journal import SYNC_INTERVAL, Fsync
from pyzdb.storage.parts import SECTOR
from pyzdb.storage.saver import InlineSave
from tests.torture.workload import MOST_STEPS

FILENAME = "db.pkl"
FILES = "bigfiles"
INCOMING = "incoming"
"""The names of the database in its folder, of its large files, and of those that it may take."""

_numbers = itertools.count(1)


class Write(NamedTuple):
    """A change of a file: ``data`` is put at ``offset``, and then the file has ``size`` bytes."""

    offset: int
    data: bytes
    size: int


class Inode:
    """A file or a folder, whatever its names: ``data`` is its content, ``durable`` what is on the
    disk of it, ``writes`` what lies between the two."""

    def __init__(self, content: bytes = b"", mode: int = stat.S_IFREG | FILE_MODE) -> None:
        self.number = next(_numbers)
        self.mode = mode
        self.data = bytearray(content)
        self.durable = content
        self.writes: list[Write] = []
        self.is_note = False

    def write(self, offset: int, data: bytes) -> None:
        """Change the content."""
        end = offset + len(data)
        self.data.extend(bytes(max(0, end - len(self.data))))
        self.data[offset:end] = data
        self.writes.append(Write(offset, data, len(self.data)))

    def truncate(self, size: int) -> None:
        """Cut or lengthen the content; what is cut reads as zeros if it ever comes back."""
        cut = bytes(max(0, len(self.data) - size))
        del self.data[size:]
        self.data.extend(bytes(max(0, size - len(self.data))))
        self.writes.append(Write(size, cut, size))

    def sync(self) -> None:
        """Bring the content to the disk."""
        self.durable = bytes(self.data)
        self.writes.clear()

    def after_loss(self, random: Random) -> bytes:
        """What a power loss may leave of the content."""
        if not self.writes:
            return self.durable
        way = random.randrange(4)
        if way == 0:
            return self.durable
        if way == 1:
            return bytes(self.data)
        content = bytearray(self.durable)
        size = random.choice([len(content), *(write.size for write in self.writes)])
        written: dict[int, list[int]] = {}
        for number, write in enumerate(self.writes):
            for sector in _sectors(write):
                written.setdefault(sector, []).append(number)
        if way == 2:  # what was written up to some moment
            last = random.randrange(len(self.writes))
            newest = dict.fromkeys(written, last)
            size = self.writes[last].size
        else:
            newest = {sector: random.choice([-1, *them]) for sector, them in written.items()}
        for number, write in enumerate(self.writes):
            content.extend(bytes(max(0, write.offset + len(write.data) - len(content))))
            for sector in _sectors(write):
                if number <= newest[sector]:
                    start = max(write.offset, sector * SECTOR)
                    end = min(write.offset + len(write.data), (sector + 1) * SECTOR)
                    content[start:end] = write.data[start - write.offset : end - write.offset]
        content.extend(bytes(max(0, size - len(content))))
        return bytes(content[:size])


def _sectors(write: Write) -> range:
    return range(write.offset // SECTOR, -(-(write.offset + len(write.data)) // SECTOR))


Names = dict[str, Inode]
Renaming = dict[str, Inode | None]
"""A change of names, which is done as a whole: what each path leads to then; None: to nothing."""


class MemoryDisk(Disk):
    """A disk in memory. ``after_step`` is called after each call that changes something; a path
    whose folder nobody made lies in a folder that is there for certain."""

    def __init__(self, names: Names | None = None) -> None:
        self.after_step: Callable[[], None] = lambda: None
        self._names: Names = {} if names is None else names
        self._durable_names = dict(self._names)
        self._renamings: list[Renaming] = []
        self._open: dict[int, tuple[str, Inode]] = {}
        self._numbers = itertools.count(3)

    # --- what a power loss leaves ----------------------------------------------------------

    @property
    def is_synced(self) -> bool:
        """True when a power loss would lose nothing but notes."""
        inodes = {*self._names.values(), *self._durable_names.values()}
        if any(inode.writes and not inode.is_note for inode in inodes):
            return False
        changed = (inode for renaming in self._renamings for inode in renaming.values())
        return all(inode is not None and inode.is_note for inode in changed)

    def after_loss(self, random: Random) -> MemoryDisk:
        """A disk as a power loss at this moment may leave it."""
        names = self._names_after_loss(random)
        return _disk({inode: inode.after_loss(random) for inode in names.values()}, names)

    def copy(self) -> MemoryDisk:
        """A disk with the same files, all of them synced."""
        return _disk({inode: bytes(inode.data) for inode in self._names.values()}, self._names)

    def put(self, path: str, content: bytes) -> None:
        """Have a file there, as if it always had been."""
        self._names[path] = self._durable_names[path] = Inode(content)

    def keep_in(self, folder: Path) -> None:
        """Write the files into a folder of the real disk, for somebody to look at."""
        folder.mkdir()
        for path, inode in self._names.items():
            if stat.S_ISREG(inode.mode):
                (folder / os.path.basename(path)).write_bytes(inode.data)

    def _names_after_loss(self, random: Random) -> Names:
        names = dict(self._durable_names)
        kept = random.choice((0.0, 0.5, 0.5, 1.0))
        prefix = random.randrange(len(self._renamings) + 1) if random.random() < 0.5 else None
        lost: set[str | Inode | None] = set()
        for number, renaming in enumerate(self._renamings):
            touched = {*renaming, *renaming.values()} - {None}
            keep = random.random() < kept if prefix is None else number < prefix
            if keep and not touched & lost:
                _apply(names, renaming)
            else:
                lost |= touched
        made = {path for path, inode in self._names.items() if stat.S_ISDIR(inode.mode)}
        gone = made - set(names)
        return {path: names[path] for path in names if os.path.dirname(path) not in gone}

    # --- the folder that is held: none is ever moved ----------------------------------------

    def work_in(self, folder: str) -> None:
        pass

    def leave(self) -> None:
        pass

    def moved_to(self) -> str | None:
        return None

    def names_changed(self) -> int:
        return 0

    # --- files -----------------------------------------------------------------------------

    def open_lock(self, path: str) -> int:
        if path not in self._names:
            self.put(path, b"")
        return self.open(path)

    def lock(self, fd: int) -> bool:
        return True

    def sign(self, fd: int, name: bytes) -> None:
        pass

    def create(self, path: str, exclusive: bool = False) -> int:
        there = self._names.get(path)
        if there is not None and exclusive:
            raise _error(errno.EEXIST, path)
        if there is not None:
            self.truncate(self._opened(path, there), 0)
        else:
            self._rename({path: Inode()})
        return self.open(path)

    def open(self, path: str, write: bool = False) -> int:
        return self._opened(path, self._inode(path))

    def open_or_create(self, path: str) -> int:
        if path not in self._names:
            self._rename({path: Inode()})
        return self.open(path)

    def note(self, fd: int, data: bytes) -> None:
        inode = self._open[fd][1]
        inode.write(0, data)
        inode.is_note = True

    def hold(self, path: str) -> int:
        return self.open(path)

    def reopen(self, fd: int) -> int:
        return self._opened(*self._open[fd])

    def close(self, fd: int) -> None:
        del self._open[fd]

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        self._open[fd][1].write(offset, bytes(data))
        self.after_step()

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._open[fd][1].data[offset : offset + size])

    def allocate(self, fd: int, offset: int, size: int) -> None:
        self.write(fd, bytes(size), offset)

    def truncate(self, fd: int, size: int) -> None:
        self._open[fd][1].truncate(size)
        self.after_step()

    def datasync(self, fd: int) -> None:
        self.sync(fd)

    def drop_cache(self, fd: int, offset: int, size: int) -> None:
        pass

    def sync(self, fd: int) -> None:
        self._open[fd][1].sync()
        self.after_step()

    # --- names -----------------------------------------------------------------------------

    def rename(self, source: str, target: str) -> None:
        self._rename({source: None, target: self._inode(source)})

    def link(self, source: str, target: str) -> None:
        if target in self._names:
            raise _error(errno.EEXIST, target)
        self._rename({target: self._inode(source)})

    def link_held(self, fd: int, target: str) -> None:
        self.link(self._open[fd][0], target)

    def unlink(self, path: str) -> None:
        self._inode(path)
        self._rename({path: None})

    def make_folder(self, path: str) -> None:
        self._rename({path: Inode(mode=stat.S_IFDIR | FOLDER_MODE)})

    def sync_folder(self, path: str) -> None:
        kept = []
        for renaming in self._renamings:
            if any(os.path.dirname(name) == path for name in renaming):
                _apply(self._durable_names, renaming)
            else:
                kept.append(renaming)
        self._renamings = kept
        self.after_step()

    def names(self, folder: str) -> list[str]:
        return sorted(os.path.basename(p) for p in self._names if os.path.dirname(p) == folder)

    # --- looks -----------------------------------------------------------------------------

    def exists(self, path: str) -> bool:
        return path in self._names

    def real_path(self, path: str) -> str:
        return os.path.abspath(path)

    def path_of(self, fd: int) -> str:
        return self._open[fd][0]

    def status(self, fd: int) -> os.stat_result:
        return _status(self._open[fd][1])

    def size(self, fd: int) -> int:
        return len(self._open[fd][1].data)

    def identity(self, path: str) -> Identity | None:
        inode = self._names.get(path)
        return None if inode is None else identity_of(_status(inode))

    def reader(self, path: str) -> BinaryIO:
        return BytesIO(bytes(self._inode(path).data))

    # --- inside ----------------------------------------------------------------------------

    def _inode(self, path: str) -> Inode:
        inode = self._names.get(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        return inode

    def _opened(self, path: str, inode: Inode) -> int:
        fd = next(self._numbers)
        self._open[fd] = path, inode
        return fd

    def _rename(self, renaming: Renaming) -> None:
        _apply(self._names, renaming)
        self._renamings.append(renaming)
        self.after_step()


def _disk(contents: dict[Inode, bytes], names: Names) -> MemoryDisk:
    new = {inode: Inode(content, inode.mode) for inode, content in contents.items()}
    return MemoryDisk({path: new[inode] for path, inode in names.items()})


def _apply(names: Names, renaming: Renaming) -> None:
    for path, inode in renaming.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


def _status(inode: Inode) -> os.stat_result:
    return os.stat_result((inode.mode, inode.number, 0, 1, 0, 0, len(inode.data), 0, 0, 0))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def database_on(
    disk: MemoryDisk,
    folder: Path,
    fsync: Fsync = "always",
    clock: Callable[[], float] = time.time,
    history_limit: int = MOST_STEPS,
    snapshot_bytes: int = SNAPSHOT_BYTES,
    kind: Callable[..., Database] = Database,
    sync_interval: float = SYNC_INTERVAL,
) -> Database:
    """The database on a disk in memory, as a server has it. The ``folder`` is a real one, in which
    nothing is written."""
    return kind(
        # No other process could see what a child of this one writes there.
        FileStore(folder / FILENAME, fsync, disk, InlineSave, clock, sync_interval),
        history_limit=history_limit,
        snapshot_bytes=snapshot_bytes,
        files=Files(disk, str(folder / FILES), [str(folder / INCOMING)]),
        exec=True,
        clock=clock,
        monotonic=clock,
    )

"""Large files beside the database: what a client names is moved into one folder and stays there.

Rules this module keeps:

- A file is taken only from the folders that the operator named, judged by its real path, and only
  when it is a regular file. What was judged is what is taken: it is held by its descriptor from
  the first look to the link, so that a name which is changed meanwhile leads nowhere.
- No name that a client chose leads anywhere: the name in the folder begins with random digits and
  goes on with the readable part of the old one.
- A file is durable in the folder before the record that names it is written; its source is
  removed after that record is durable. A crash between the two leaves a name too many, never a
  file too few; the record tells the next start, which removes it: only from the folders that the
  operator named, only what is still the file that was taken, by its identity and its time, only
  when the folder is the one that it was taken into, and only what lies there to the byte. Whoever
  else wrote or copied the journal has nothing removed that is not kept.
- A file that has another name is copied: a program that writes under that name would change what
  is stored.
- What a record names is never removed: undo and redo may bring it back.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from pyzdb.errors import FileRefused, StorageError, StorageFull
from pyzdb.paths import Value, key_text
from pyzdb.storage.disk import NO_ROOM, Disk, Identity, identity_of, remove
from pyzdb.storage.file_folder import PREFIX_BYTES, FileFolder, with_files
from pyzdb.values.types import File

NAME_BYTES = 200
"""Bytes of the old name that are kept: with the prefix they stay below the 255 that file systems
allow."""

SUFFIX_LENGTH = 20
"""Characters from the last dot on that are kept when a name is cut."""

PATH_BYTES = 4096
"""A longer location is refused at once: the system takes none, and resolving it takes long."""

CHUNK = 1 << 20
"""Bytes copied at a time from another file system."""

NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP})
"""What the system says when a file cannot get a second name in the folder but can be copied."""

_log = logging.getLogger(__name__)


Moved = tuple[str, str, Identity, tuple[int, int]]
"""Of a file that was moved: the path of its source, its name in the folder, the identity of the
source, and device and inode of the folder."""


class IngestedFile:
    """A file that was taken. ``file`` is the File to store; then either `commit` or `discard`
    has to be called."""

    def __init__(
        self,
        disk: Disk,
        file: File,
        placed: bool = False,
        source: tuple[str, Identity] | None = None,
        folder: tuple[int, int] = (0, 0),
    ) -> None:
        self.file = file
        self._folder = folder
        self._disk = disk
        self._placed = placed
        self._source = source

    @property
    def moved(self) -> Moved | None:
        """What the record says of the move, if the file was moved."""
        if self._source is None:
            return None
        path, identity = self._source
        return path, os.path.basename(str(self.file.location)), identity, self._folder

    def commit(self) -> None:
        """The record is durable: remove the source, unless it is another file by now."""
        if self._source is None:
            return
        path, identity = self._source
        try:
            if self._disk.identity(path) == identity:
                self._disk.unlink(path)
        except OSError as error:
            _log.warning("%s was taken, but cannot be removed: %s", path, error.strerror)

    def discard(self) -> None:
        """The operation failed: remove what was put into the folder; the source is as it was."""
        if self._placed:
            with suppress(OSError):  # what is left over is in nobody's way
                remove(self._disk, str(self.file.location))


class Files:
    """The files of one database, in a ``folder`` that is made when it is first needed.

    Files are taken from the folders ``allowed`` and what lies below them, but for the file
    ``database`` and those whose names begin with its name. What has to be copied is read in pieces
    of ``chunk`` bytes.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        allowed: Sequence[str] = (),
        database: str | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self._disk = disk
        self.folder = FileFolder(disk, "", folder)
        self._folder = self.folder.path
        self._allowed = [disk.real_path(name) for name in allowed]
        self._database = None if database is None else disk.real_path(database)
        self._chunk = chunk

    def take(self, file: File, new: bool = True) -> IngestedFile:
        """Put what a File names or carries into the folder, so that it is on the disk.

        Raises FileRefused for what may not be taken, with ``new`` False for all that is not in
        the folder yet; StorageFull and StorageError.
        """
        if not new and (file.content is not None or not self._holds(file)):
            raise FileRefused("source that a server runs stores no new File; a client can")
        if file.content is not None:
            content = file.content
            location = self._place(file.filename, lambda target: self._write(target, content))
            return IngestedFile(self._disk, File(location, file.filename), placed=True)
        path = self._resolve(str(file.location))
        stored = _lies_in(path, self._folder)
        if not stored:
            self._check_allowed(path)
        try:
            held = self._disk.hold(path)
        except OSError as error:
            raise FileRefused(f"{path} cannot be taken: {error.strerror}") from None
        try:
            status = self._disk.status(held)
            if not stat.S_ISREG(status.st_mode):
                what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise FileRefused(f"{path} cannot be taken: it is {what}")
            if self._disk.path_of(held) != path:
                raise FileRefused(f"{path} cannot be taken: it was moved meanwhile")
            if stored:
                return IngestedFile(self._disk, File(path, file.filename))
            location = self._move(path, held, file.filename)
            source = (path, identity_of(status))
            return IngestedFile(
                self._disk, File(location, file.filename), True, source, self._folder_identity()
            )
        finally:
            self._disk.close(held)

    def complete_move(self, moved: tuple[Any, ...]) -> None:
        """Remove the source of a file that was moved, if a crash left it and it is still what the
        record says. ``moved`` may say anything: whoever wrote the journal wrote it."""
        match moved:
            case (str() as source, str() as name, [*identity], [*folder]):
                pass
            case _:
                return  # of an earlier version, which said too little to be sure
        try:
            if tuple(folder) != self._folder_identity():
                return
            path, stored = self._disk.real_path(source), os.path.join(self._folder, name)
            if path != source or os.path.basename(name) != name:
                return
            self._check_allowed(path)
            if self._disk.identity(path) == tuple(identity) and self._is_copy(path, stored):
                self._disk.unlink(path)
        except FileRefused as error:
            _log.warning("a record says that a file was moved: %s", error)
        except (OSError, ValueError) as error:
            _log.warning("%r was taken, but cannot be removed: %s", source, error)

    def _is_copy(self, path: str, stored: str) -> bool:
        """True when both names lead to one regular file, or to two of the same content."""
        with ExitStack() as stack:
            held = []
            for name in (path, stored):
                held.append(self._disk.hold(name))
                stack.callback(self._disk.close, held[-1])
            mine, its = map(self._disk.status, held)
            if not stat.S_ISREG(mine.st_mode) or not stat.S_ISREG(its.st_mode):
                return False
            if os.path.samestat(mine, its):
                return True
            opened = []
            for fd in held:
                opened.append(self._disk.reopen(fd))
                stack.callback(self._disk.close, opened[-1])
            read, chunk, (one, other) = self._disk.read, self._chunk, opened
            return mine.st_size == its.st_size and all(
                read(one, chunk, offset) == read(other, chunk, offset)
                for offset in range(0, mine.st_size, chunk)
            )

    def _folder_identity(self) -> tuple[int, int]:
        device, inode, *_ = self._disk.identity(self._folder) or (0, 0)
        return device, inode

    def _holds(self, file: File) -> bool:
        return _lies_in(self._resolve(str(file.location)), self._folder)

    def _resolve(self, location: str) -> str:
        try:
            if not os.path.isabs(location) or len(os.fsencode(location)) > PATH_BYTES:
                raise ValueError("name the file by its full path on the server")
            return self._disk.real_path(location)
        except ValueError as error:
            raise FileRefused(f"{key_text(location)} is not a location: {error}") from None

    def _check_allowed(self, path: str) -> None:
        # What lies elsewhere is refused without a look, so that nobody learns what is there.
        if not any(_lies_in(path, folder) for folder in self._allowed):
            raise FileRefused(
                f"{path} lies in no folder that files may be taken from; "
                "the server allows one that is named by its option --files-from"
            )
        if self._database is not None and path.startswith(self._database):
            raise FileRefused(f"{path} cannot be taken: it belongs to the database")

    def _move(self, path: str, held: int, filename: str) -> str:
        try:
            source = self._disk.reopen(held)
        except OSError as error:
            raise FileRefused(f"{path} cannot be taken: {error.strerror}") from None
        try:
            return self._place(filename, lambda target: self._link(path, source, target))
        finally:
            self._disk.close(source)

    def _place(self, filename: str, fill: Callable[[str], None]) -> str:
        """Make a file in the folder by ``fill``; when that fails, nothing of it is left."""
        target = os.path.join(self._folder, _new_name(filename))
        try:
            if not self._disk.exists(self._folder):
                self._disk.make_folder(self._folder)
                self._disk.sync_folder(os.path.dirname(self._folder))
            fill(target)
            self._disk.sync_folder(self._folder)
        except (OSError, FileRefused) as error:
            with suppress(OSError):
                remove(self._disk, target)
            if isinstance(error, FileRefused):
                raise
            kind = StorageFull if error.errno in NO_ROOM else StorageError
            raise kind(f"{filename} cannot be stored: {error.strerror}") from error
        return target

    def _write(self, target: str, content: bytes) -> None:
        fd = self._disk.create(target, exclusive=True)
        try:
            self._disk.write(fd, content, 0)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)

    def _link(self, path: str, source: int, target: str) -> None:
        """Give the open file ``source`` a name in the folder, or copy it there."""
        self._disk.sync(source)
        if self._disk.status(source).st_nlink != 1:
            self._copy(path, source, target)
            return
        try:
            self._disk.link_held(source, target)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            self._copy(path, source, target)

    def _copy(self, path: str, source: int, target: str) -> None:
        before = self._disk.status(source)
        fd = self._disk.create(target, exclusive=True)
        try:
            for offset in range(0, before.st_size, self._chunk):
                self._disk.write(fd, self._disk.read(source, self._chunk, offset), offset)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)
        if identity_of(self._disk.status(source)) != identity_of(before):
            raise FileRefused(f"{path} cannot be taken: it was changed meanwhile")


def _lies_in(path: str, folder: str) -> bool:
    return path != folder and os.path.commonpath((path, folder)) == folder


def _new_name(filename: str) -> str:
    """A name that no file has yet, and in which ``filename`` can be read."""
    name = "".join(char if char.isprintable() and char != "/" else "_" for char in filename)
    if len(name.encode()) > NAME_BYTES:
        stem, suffix = os.path.splitext(name)
        suffix = suffix[:SUFFIX_LENGTH]
        name = stem.encode()[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix
    return f"{os.urandom(PREFIX_BYTES).hex()}-{name}"


def ingest(files: Files, value: Value, new: bool = True) -> tuple[Value, list[IngestedFile]]:
    """Take every File that lies in a value, all or none: the value to store, and what was taken.

    A value without one comes back itself. ``new`` and what is raised are as in `Files.take`.
    """
    taken: list[IngestedFile] = []

    def take(file: File) -> File:
        taken.append(files.take(file, new))
        return taken[-1].file

    try:
        return with_files(value, take), taken
    except BaseException:
        for one in taken:
            one.discard()
        raise

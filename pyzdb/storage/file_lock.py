"""Who holds a database: one process at a time may write it.

Rules this module keeps:

- Two things are locked: the lock file, which says who holds the database, and the newest
  part of its journal. Both locks are the system's and go when their process goes, however that
  ends.
- The lock file is never removed: a removed lock file is how two processes come to hold "the"
  lock. When somebody else removes it, the lock on the journal still keeps others out.
- Its first line says who holds the database, or held it last; the second one is a notice of that
  process to read-only servers, which need no lock: the address where it waits for them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from pyzdb.errors import FileInUse, StorageError
from pyzdb.storage.disk import Disk, identity_of, replaced
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import part_names

PATIENCE = 0.5
"""Seconds that a start waits for a lock: a killed server's process may take a moment to go."""

RETRY = 0.02
"""Seconds between two tries."""

NAME_SIZE = 1024
"""Bytes of a lock file that are read to tell who holds it."""

NOTICE_LINE = 1
"""Which line of a lock file is the notice; there is nothing after its end."""


class FileLock:
    """Holds a database from the start to `release`. Raises FileInUse when another one does, and
    StorageError when its files cannot be locked.

    With ``writing`` False nothing is made or changed, and no permission to write is needed.
    ``notice`` is one line for read-only servers; ``host`` gives the name of this machine.
    """

    def __init__(
        self,
        disk: Disk,
        filename: str,
        writing: bool = True,
        notice: str = "",
        host: Callable[[], str] = socket.gethostname,
    ) -> None:
        self._disk = disk
        self._filename = filename
        self._path = Layout(filename).lock
        self._writing = writing
        self._notice = notice
        self._host = host
        self._fd = -1
        self._part: tuple[str, int] | None = None
        self._patient_until = time.monotonic() + PATIENCE
        try:
            self._take()
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        disk = self._disk
        try:
            self._fd = disk.open_lock(self._path) if self._writing else disk.open(self._path)
        except FileNotFoundError:
            pass  # nobody has written here since a copy of the files was put there
        except OSError as error:
            raise StorageError(f"{self._path} cannot be opened: {error.strerror}") from error
        if self._fd >= 0:
            self._lock(self._path, self._fd)
            self._identity = identity_of(disk.status(self._fd))[:2]
        self._part = self._newest_part()
        if self._writing:
            # The name of a machine need not be UTF-8.
            lines = f"pid {os.getpid()} on {self._host()}\n{self._notice}\n"
            disk.sign(self._fd, os.fsencode(lines))

    def _newest_part(self) -> tuple[str, int] | None:
        """Lock the part of the journal that a server writes, which may go on in a new one."""
        while True:
            parts = part_names(self._disk, self._filename)
            if not parts:
                return None
            _, path = parts[-1]
            try:
                fd = self._disk.open(path, self._writing)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"{path} cannot be opened: {error.strerror}") from error
            try:
                self._lock(path, fd)
                if part_names(self._disk, self._filename)[-1:] == parts[-1:]:
                    return path, fd
            except BaseException:
                self._disk.close(fd)
                raise
            self._disk.close(fd)

    def _lock(self, path: str, fd: int) -> None:
        try:
            while not self._disk.lock(fd):
                if time.monotonic() > self._patient_until:
                    raise FileInUse(f"{self._filename} is in use by {self._other()}")
                time.sleep(RETRY)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be locked: {error.strerror}; the file system must support locks "
                "(flock), so that no two servers write the same database"
            ) from error

    def _other(self) -> str:
        """Who holds the database, as far as the lock file says it."""
        said = b"" if self._fd < 0 else self._disk.read(self._fd, NAME_SIZE, 0)
        return said.partition(b"\n")[0].decode(errors="replace").strip() or "another process"

    def take_part(self, path: str) -> int:
        """Hand over the descriptor of the newest part, which is locked and open for writing."""
        if self._part is None or self._part[0] != path:
            raise FileInUse(f"{self._filename} is in use by a process that goes on in {path}")
        (_, fd), self._part = self._part, None
        return fd

    def look(self) -> None:
        """Raises FilesReplaced when the lock file is not the one that is held any more."""
        now = self._disk.identity(self._path)
        if now is None or now[:2] != self._identity:
            raise replaced(self._path, now)

    def release(self) -> None:
        """Let others have the database."""
        if self._part is not None:
            self._disk.close(self._part[1])
            self._part = None
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1


def notice_of(disk: Disk, filename: str) -> str | None:
    """The notice of the process that holds a database, or held it last; None when there is none."""
    try:
        lines = disk.content(Layout(filename).lock).split(b"\n")
    except OSError:
        return None  # nobody has written here since a copy of the files was put there
    is_whole = len(lines) > NOTICE_LINE + 1
    return os.fsdecode(lines[NOTICE_LINE]) or None if is_whole else None

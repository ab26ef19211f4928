"""Who holds a database: one process at a time may write it.

The lock is one of the system on ``<database>.lock``, which goes when its process goes, however
that ends. The file says who holds it and is never removed: a removed lock file is how two
processes come to hold "the" lock.
"""

from __future__ import annotations

import io
import os
import socket
import time
from contextlib import suppress

import portalocker

from pyzdb.errors import FileInUse, StorageError
from pyzdb.storage.disk import FILE_MODE

PATIENCE = 0.5
"""Seconds that a start waits for the lock: a killed server's process may take a moment to go."""

RETRY = 0.02
"""Seconds between two tries."""


class Holder:
    """Holds a database from the start to `release`. Raises FileInUse when another one does."""

    def __init__(self, filename: str) -> None:
        path = f"{filename}.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise StorageError(f"{path} cannot be opened: {error.strerror}") from error
        self._file = io.FileIO(fd, "r+")
        patient_until = time.monotonic() + PATIENCE
        while not self._take():
            if time.monotonic() > patient_until:
                holder = self._file.read().decode(errors="replace").strip() or "another process"
                self._file.close()
                raise FileInUse(f"{filename} is in use by {holder}")
            time.sleep(RETRY)
        with suppress(OSError):  # a full disk has no room for the name, but the lock is held
            self._file.truncate(0)
            self._file.write(f"pid {os.getpid()} on {socket.gethostname()}\n".encode())

    def _take(self) -> bool:
        try:
            portalocker.lock(self._file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException:
            return False
        return True

    def release(self) -> None:
        """Let others have the database."""
        self._file.close()

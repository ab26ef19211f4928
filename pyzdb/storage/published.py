"""How far a database is durable: a number that its server tells those who read its files.

A reader of the journal cannot see whether a record of it was synced. So the server writes the
sequence of the last record that it may acknowledge into a file of its own, after each sync.

Rules this module keeps:

- The file is never synced: it is written after what it vouches for, so whatever a loss of power
  leaves of it is true.
- It can be done without. Where it is missing or not whole, no server has written there since
  the machine started, and what can be read of the journal lies on the disk.
"""

from __future__ import annotations

import logging
import struct
from zlib import crc32

from pyzdb.storage.disk import Disk
from pyzdb.storage.layout import Layout

_NOTE = struct.Struct("<QI")
"""A sequence, and the CRC32 of its bytes."""

_SEQUENCE_SIZE = 8

TRIES = 3
"""How often a note is read that is not whole: it may be written in the same moment."""

logger = logging.getLogger(__name__)


class Published:
    """The side that writes the note. What goes wrong is told once: only readers feel it."""

    def __init__(self, disk: Disk, filename: str) -> None:
        self._disk = disk
        self._path = Layout(filename).synced
        self._fd = -1
        self._last = -1
        self._failed = False

    @property
    def began(self) -> bool:
        """True when anything was told."""
        return self._last >= 0

    def tell(self, sequence: int) -> None:
        """Let readers have every record up to a sequence."""
        if sequence == self._last:
            return
        data = sequence.to_bytes(_SEQUENCE_SIZE, "little")
        try:
            if self._fd < 0:
                self._fd = self._disk.open_or_create(self._path)
            self._disk.note(self._fd, data + crc32(data).to_bytes(4, "little"))
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.warning("read-only servers lag behind: %s: %s", self._path, error.strerror)
            self._failed = True
        self._last = sequence

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1


def published(disk: Disk, filename: str) -> int | None:
    """The sequence up to which a database is durable; None when nothing says so."""
    for _ in range(TRIES):
        try:
            data = disk.content(Layout(filename).synced)
        except FileNotFoundError:
            return None
        if len(data) == _NOTE.size:
            sequence, check = _NOTE.unpack(data)
            if crc32(data[:_SEQUENCE_SIZE]) == check:
                return int(sequence)
    return None

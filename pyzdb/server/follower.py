"""How a read-only server keeps up with the one that writes: by reading its files.

Rules this module keeps:

- What is served is always one whole version: that of a snapshot and the records after it, in
  order. It never goes back to an older one.
- The newest part of the journal is read as it grows, and then the next one; when that is gone,
  because a save replaced it, the snapshot is read again.
- A file that is missing or changes while it is read is no error: the next look finds it whole,
  and the version before is served until then.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing

from pyzdb.database import Database
from pyzdb.errors import CorruptFile
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk, database_path
from pyzdb.storage.parts import (
    HEADER_SIZE,
    Part,
    part_name,
    part_names,
    read_header,
    read_records,
    record_size,
)
from pyzdb.storage.snapshot import read_head

LOOK_INTERVAL = 0.05
"""Seconds between two looks at the files, also under constant load: a new version is served well
within 0.2 seconds, and looking costs some microseconds."""

CHUNK = 1 << 20
"""Bytes of the journal that are read at a time: thousands of usual records."""

PATIENCE = 5.0
"""Seconds that the files may be unreadable before the operator is told."""

logger = logging.getLogger(__name__)


class Follower:
    """Keeps a read-only database at the newest version of the files of another one."""

    def __init__(self, database: Database, filename: str, disk: Disk | None = None) -> None:
        self._database = database
        self._filename = database_path(filename)
        self._disk = disk or Disk()
        self._snapshot: tuple[int, int, int, int] | None = None
        self._fd: int | None = None
        self._part: Part | None = None
        self._offset = 0
        self._looked = 0.0
        self._unread_since: float | None = None

    def tick(self) -> float:
        """Look when it is time to; return the seconds until the next look."""
        now = time.monotonic()
        if now - self._looked >= LOOK_INTERVAL:
            self.look()
            self._looked = now = time.monotonic()
        return self._looked + LOOK_INTERVAL - now

    def look(self) -> None:
        """Bring the database to the newest version that can be read."""
        try:
            self._follow()
            identity = self._disk.identity(self._filename)
            if self._part is None:
                unseen = identity not in (None, self._snapshot) or self._has_journal()
            else:
                unseen = identity not in (None, self._snapshot) and self._is_ahead()
            if unseen:
                self._read_all()
            self._snapshot = identity
            self._unread_since = None
        except (OSError, CorruptFile) as error:
            now = time.monotonic()
            self._unread_since = self._unread_since or now
            if now - self._unread_since > PATIENCE:
                logger.warning("the version before is still served: %s", error)
                self._unread_since = now

    def close(self) -> None:
        """Let go of the files."""
        if self._fd is not None:
            self._disk.close(self._fd)
        self._fd = self._part = None

    def _follow(self) -> None:
        """Do the records that were added since the last look."""
        try:
            while self._part is not None and self._fd is not None:
                if not self._read_records(self._fd, self._part) and not self._go_on(self._part):
                    return
        except CorruptFile:
            self.close()  # to begin anew with the snapshot
            raise

    def _read_records(self, fd: int, part: Part) -> bool:
        """Do the records of the next piece of the part; False when there is none."""
        part.data = self._disk.read(fd, CHUNK, self._offset)
        size = record_size(part.data)
        if size > CHUNK:
            part.data = self._disk.read(fd, size, self._offset)
        part.records.clear()
        part.end = 0
        read_records(part)
        for sequence, body in part.bodies():
            self._database.replay(sequence, body)
        self._offset += part.end
        return bool(part.records)

    def _go_on(self, part: Part) -> bool:
        """Go to the part after one that has no more records; False when there is none yet."""
        path = part_name(self._filename, part.sequence + 1)
        # As long as a part has no records, the next record is its own first one.
        if path == part.filename or not self._disk.exists(path):
            return False
        fd = self._disk.open(path)
        try:
            following = read_header(self._disk.read(fd, HEADER_SIZE, 0), path)
            if following.previous != part.chain:
                raise CorruptFile(f"{path} does not continue {part.filename}", path, 0)
        except BaseException:
            self._disk.close(fd)
            raise
        self.close()
        self._fd, self._part, self._offset = fd, following, HEADER_SIZE
        return True

    def _is_ahead(self) -> bool:
        """True when the snapshot holds what the journal no longer does."""
        with closing(self._disk.reader(self._filename)) as file:
            head = read_head(file, self._filename)
        return head is None or head.sequence > self._database.sequence

    def _has_journal(self) -> bool:
        return bool(part_names(self._disk, self._filename))

    def _read_all(self) -> None:
        contents = read_contents(self._disk, self._filename)
        if 0 < contents.sequence < self._database.sequence:
            raise CorruptFile(f"{self._filename} is older than what was served from it")
        self.close()
        start = contents.snapshot.sequence if contents.snapshot else 0
        self._database.load(contents.state, start)
        for sequence, body in contents.records():
            self._database.replay(sequence, body)
        if contents.parts:
            part = contents.parts[-1]
            self._fd = self._disk.open(part.filename)
            self._part, self._offset = part, part.end

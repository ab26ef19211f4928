"""Whether what lies under the names of a database is still what its process put there.

Rules this module keeps:

- A folder that was moved is worked in wherever it is; whatever its old path leads to is never
  touched. That is said once.
- A snapshot with the header of the one that was read or saved here is the same one, whatever its
  time or inode: a copy of it that was put back does no harm.
- A server goes on when its snapshot is gone: nothing lies there that a save could harm.
"""

from __future__ import annotations

import logging

from pyzdb.storage.disk import Disk, Identity, identity_of, replaced
from pyzdb.storage.snapshot import HEADER_SIZE

Known = tuple[Identity, bytes]
"""Of a snapshot: its identity and its header."""

logger = logging.getLogger(__name__)


class Watch:
    """Looks after the folder and the snapshot of a database."""

    def __init__(self, disk: Disk, filename: str) -> None:
        self._disk = disk
        self._filename = filename
        self._known: Known | None = None
        self._is_moved = False
        self.is_missing = False

    def begin(self) -> None:
        """Take the snapshot that is there, if there is one, for that of this process."""
        try:
            fd = self._disk.open(self._filename)
        except FileNotFoundError:
            self._known = None
            return
        try:
            self._known = self.known(fd)
        finally:
            self._disk.close(fd)

    def known(self, fd: int) -> Known:
        """The identity and the header of the snapshot that a descriptor has open."""
        return identity_of(self._disk.status(fd)), self._disk.read(fd, HEADER_SIZE, 0)

    def saved(self, known: Known) -> None:
        """Take note that this process put a snapshot in its place."""
        self._known, self.is_missing = known, False

    def look_at_snapshot(self) -> None:
        """Raises FilesReplaced when the snapshot is not that of this process any more."""
        now, known = self._disk.identity(self._filename), self._known
        if now is None and known is not None:
            if not self.is_missing:
                logger.warning("%s was removed under the server: it is saved anew", self._filename)
            self.is_missing = True
            return
        self.is_missing = False
        if now == (None if known is None else known[0]):
            return
        self.begin()
        if known is None or self._known is None or self._known[1] != known[1]:
            self._known = known
            raise replaced(self._filename, now)

    def look_at_folder(self) -> None:
        """Warn when the path of the folder leads to another one by now."""
        moved = self._disk.moved_to()
        if moved is not None and not self._is_moved:
            logger.warning(
                "the folder of %s was moved: this server works on in %s "
                "and touches nothing that lies at the old path",
                self._filename,
                moved,
            )
        self._is_moved = moved is not None

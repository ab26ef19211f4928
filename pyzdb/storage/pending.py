"""A snapshot that is being made.

Rules this module keeps:

- A save is: go on in a new part of the journal, write the state aside, sync it, rename it, sync
  the folder, and last remove the parts that it replaces. Whatever is interrupted leaves one
  snapshot and all the records after it; what is left over is removed by the next start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pyzdb.storage.disk import Disk, remove
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.journal import Journal
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import part_names
from pyzdb.storage.snapshot import State, write_snapshot


class PendingSnapshot:
    """A snapshot of all that a journal has so far, from the making of its file to the removal of
    what it replaces. ``folder`` is that of the large files.

    ``fd`` is the file, which no child before has open; ``journal_size`` what the records that it
    replaces take (bytes). Raises OSError when no file can be made.
    """

    def __init__(self, disk: Disk, filename: str, folder: FileFolder, journal: Journal) -> None:
        self._disk = disk
        self._folder = folder
        self._layout = Layout(filename)
        self._sequence, self._chain = journal.sequence, journal.chain
        self.journal_size = journal.size
        remove(disk, self._layout.snapshot_aside)
        self.fd = disk.create(self._layout.snapshot_aside, exclusive=True)

    def write(self, state: Callable[[], State]) -> None:
        """Write the state as it is now; it is on the disk when this returns."""
        write_snapshot(self._disk, self.fd, state(), self._sequence, self._chain, self._folder)

    def close(self) -> None:
        """Let go of the file, which keeps the name that it has."""
        self._disk.close(self.fd)

    def drop(self) -> None:
        """Remove the file."""
        remove(self._disk, self._layout.snapshot_aside)

    def take_place(self) -> None:
        """Put the file in the place of the snapshot before it."""
        self._disk.rename(self._layout.snapshot_aside, self._layout.filename)

    def sync_name(self) -> None:
        """Return when that is on the disk."""
        self._disk.sync_folder(self._layout.folder)

    def remove_what_it_replaces(self) -> None:
        """Remove the parts of the journal that are in the snapshot. They are not read any more:
        where that fails, the next save or start tries again."""
        with suppress(OSError):
            for first, path in part_names(self._disk, self._layout.filename):
                if first <= self._sequence:
                    remove(self._disk, path)

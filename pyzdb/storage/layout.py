"""The names of a database's files, all in one place.

    ==============================  ======================================================
    name                            what it is
    ==============================  ======================================================
    ``db.pkl``                      the snapshot; its path is the path of the database
    ``db.pkl.new``                  a snapshot that is being written
    ``db.pkl.journal-000000000001`` a part of the journal, with the number of its first
                                    record, in 12 digits or more
    ``db.pkl.journal-new``          a part that is being written
    ``db.pkl.lock``                 who holds the database
    ``db.pkl.synced``               how far it is durable
    ``db.pkl.original``             the pickle of another program that became a database
    ``db.pkl.rescued``              what a server held whose files were replaced
    ``*.broken``                    what a repair or a start cut off or put aside
    ``bigfiles/``                   the folder of the large files
    ==============================  ======================================================

Nothing here looks at the disk. The last three but one are followed by ``-2``, ``-3``... where the
name is taken (`pyzdb.storage.disk.free_name`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

FILES_FOLDER = "bigfiles"
"""The name of the folder of the large files, which lies beside the snapshot."""

_DIGITS = re.compile(r"[0-9]{12,}")


@dataclass(frozen=True)
class Layout:
    """The paths of one database, whose snapshot is ``filename``."""

    filename: str

    @property
    def folder(self) -> str:
        """The folder in which all of it lies."""
        return os.path.dirname(self.filename)

    @property
    def snapshot_aside(self) -> str:
        """Where a snapshot is written before it takes the place of the one before."""
        return f"{self.filename}.new"

    @property
    def part_aside(self) -> str:
        """Where a new part of the journal is written before it gets its name."""
        return f"{self._part_prefix}new"

    @property
    def all_parts(self) -> str:
        """A pattern for all parts of the journal, to be shown to the operator."""
        return f"{self._part_prefix}*"

    @property
    def lock(self) -> str:
        """The file that is locked by the process that writes, and that says which one it is."""
        return f"{self.filename}.lock"

    @property
    def synced(self) -> str:
        """The note of how far the database is durable."""
        return f"{self.filename}.synced"

    @property
    def original(self) -> str:
        """Where the pickle of another program is kept."""
        return f"{self.filename}.original"

    @property
    def rescued(self) -> str:
        """Where a server keeps what it holds when its files were replaced."""
        return f"{self.filename}.rescued"

    @property
    def large_files(self) -> str:
        """The folder of the large files."""
        return os.path.join(self.folder, FILES_FOLDER)

    @property
    def _part_prefix(self) -> str:
        return f"{self.filename}.journal-"

    def part(self, first: int) -> str:
        """The part of the journal whose first record has the number ``first``."""
        return f"{self._part_prefix}{first:012}"

    def first_of(self, path: str) -> int | None:
        """The number of the first record of a part, by its path; None for another file."""
        if not path.startswith(self._part_prefix):
            return None
        digits = path[len(self._part_prefix) :]
        return int(digits) if _DIGITS.fullmatch(digits) else None


def is_part_of(path: str, first: int) -> bool:
    """True when a path is that of a part, of any database, whose first record has a number."""
    return path.endswith(Layout("").part(first))


def broken(path: str) -> str:
    """Where what is not good of a file is kept."""
    return f"{path}.broken"

"""A cursor on a journal: the records after a given one, as they become durable.

Rules this module keeps:

- What is given is durable: the server that writes the files says how far that is (published.py),
  and it is asked before the files are read.
- Records come in order, each once, and none is left out. Each continues the checksum of the one
  before, so a cursor never goes on in the journal of another database.
- Files are only read. Meanwhile their server may append to them, go on in a new part, and remove
  the parts that a save replaces. A record whose write has not ended is not there yet.
- A cursor that cannot go on says why: the record is in the snapshot alone by now (Compacted), or
  the files are not those that it began with (Replaced). Either way a snapshot has to be read.
- After an error the cursor stands where it stood: the next try reads the same records.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from pyzdb.storage.disk import Disk
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import (
    HEADER_SIZE,
    Part,
    Record,
    part_names,
    read_header,
    read_records,
    record_size,
)
from pyzdb.storage.published import published
from pyzdb.storage.snapshot import read_head

CHUNK = 1 << 20
"""Bytes of a journal that are read at a time: thousands of usual records."""

Durable = Callable[[Disk, str], int | None]
"""Tells up to which record a database is durable; None: nothing says so, and all of it is."""


@dataclass(frozen=True)
class Compacted:
    """The next record is in the snapshot alone; ``oldest`` is the first one that the journal has,
    or will have."""

    oldest: int


@dataclass(frozen=True)
class Replaced:
    """The journal does not continue the record that the cursor stands at: it is an older copy, or
    that of another database."""


Found = list[Record] | Compacted | Replaced
"""What a cursor comes upon; an empty list: nothing new."""


class JournalReader:
    """A cursor on the journal of the database file ``filename``.

    ``sequence`` is the record that it stands at, the last one that was given; ``chain`` the
    checksum of that record, which the next one continues (None: it is not known, and whatever the
    files have for it is taken).
    """

    def __init__(
        self,
        disk: Disk,
        filename: str,
        sequence: int,
        chain: int | None = None,
        durable: Durable = published,
    ) -> None:
        self.sequence = sequence
        self.chain = chain
        self._disk = disk
        self._filename = filename
        self._durable = durable
        self._part: _OpenPart | None = None

    @property
    def start(self) -> tuple[int, int] | None:
        """The record before the part that is read, and its checksum: those of the snapshot that
        this part continues. None while no part is open."""
        return None if self._part is None else self._part.start

    def read(self, size: int = CHUNK) -> Found:
        """Give the next records: as many as lie whole in ``size`` bytes, but one at least.

        Raises CorruptFile for damage, FileNotFoundError when all files of the database are gone.
        """
        before = self.sequence, self.chain
        try:
            return self._read(size)
        except BaseException:
            self.close()  # how far it was read is not known
            self.sequence, self.chain = before
            raise

    def begin_in(self, part: Part) -> None:
        """Have the next record looked for in a part that was read, in which the one lies that the
        cursor stands at: what is before it is not read again. Raises FileNotFoundError."""
        self.close()
        opened = _OpenPart(self._disk, part.filename)
        if opened.skip_by(part, self.sequence):
            self._part = opened
        else:
            opened.close()

    def close(self) -> None:
        """Let go of the files; the cursor stands where it stood."""
        part, self._part = self._part, None
        if part is not None:
            part.close()

    def _read(self, size: int) -> Found:
        durable = self._durable(self._disk, self._filename)
        while True:
            is_found_anew = self._part is None
            if self._part is None:
                found = self._find()
                if not isinstance(found, _OpenPart):
                    return found
                self._part = found
            part = self._part
            records = part.read(durable, max(size, HEADER_SIZE))
            if records:
                self.sequence, self.chain = part.sequence, part.chain
                return records
            if not self._has_next(part) and (is_found_anew or part.is_there()):
                return []
            self.close()

    def _find(self) -> _OpenPart | Found:
        """Open the part that holds the next record, or will hold it."""
        before: list[tuple[int, str]] | None = None
        while True:
            parts = part_names(self._disk, self._filename)
            if not parts:
                return self._without_journal()
            paths = [path for first, path in parts if first <= self.sequence + 1]
            if not paths:
                return Compacted(parts[0][0])
            try:
                part = _OpenPart(self._disk, paths[-1])
            except FileNotFoundError:
                if parts == before:
                    raise
                before = parts  # a save has removed it meanwhile
                continue
            try:
                is_continued = part.skip_to(self.sequence) and self.chain in (None, part.chain)
            except BaseException:
                part.close()
                raise
            if is_continued:
                self.chain = part.chain
                return part
            part.close()
            return Replaced()

    def _without_journal(self) -> Found:
        """What a snapshot says to which there is no journal, as in a copy of it alone."""
        try:
            file = self._disk.reader(self._filename)
        except FileNotFoundError:
            raise FileNotFoundError(
                errno.ENOENT, f"all files of {self._filename} are gone"
            ) from None
        with closing(file):
            head = read_head(file, self._filename)
        sequence, chain = (0, 0) if head is None else (head.sequence, head.chain)
        if sequence > self.sequence:
            return Compacted(sequence + 1)
        if sequence < self.sequence or self.chain not in (None, chain):
            return Replaced()
        return []

    def _has_next(self, part: _OpenPart) -> bool:
        """True when the journal goes on in another part."""
        path = Layout(self._filename).part(part.sequence + 1)
        # As long as a part has no records, the next record is its own first one.
        return path != part.path and self._disk.exists(path)


class _OpenPart:
    """A part that is read from its start on. Raises CorruptFile when its header is damaged."""

    def __init__(self, disk: Disk, path: str) -> None:
        self.path = path
        self._disk = disk
        self._fd = disk.open(path)
        try:
            self._part = read_header(disk.read(self._fd, HEADER_SIZE, 0), path)
        except BaseException:
            self.close()
            raise
        self._part.at = HEADER_SIZE

    @property
    def start(self) -> tuple[int, int]:
        """The record before the part, and its checksum."""
        return self._part.first - 1, self._part.previous

    @property
    def sequence(self) -> int:
        """The last record that was read."""
        return self._part.sequence

    @property
    def chain(self) -> int:
        """Its checksum."""
        return self._part.chain

    def read(self, last: int | None, size: int) -> list[Record]:
        """The records in the next ``size`` bytes, one at least, but none after the record
        ``last``."""
        part = self._part
        if last is not None and last <= part.sequence:
            return []
        part.data = self._disk.read(self._fd, size, part.at)
        needed = record_size(part.data)
        if needed > size:
            part.data = self._disk.read(self._fd, needed, part.at)
        part.records.clear()
        part.end = 0
        read_records(part)
        if last is not None:
            part.cut_after(last)
        part.at += part.end
        return list(part.bodies())

    def skip_to(self, sequence: int) -> bool:
        """Read up to a record; False when it is not there."""
        while self.sequence < sequence:
            if not self.read(sequence, CHUNK):
                return False
        return True

    def skip_by(self, part: Part, sequence: int) -> bool:
        """Go on after a record of what was read of the part before; False when it is another
        part of that name, or does not have the record."""
        own = self._part
        if own.seed != part.seed or not part.first - 1 <= sequence <= part.sequence:
            return False
        own.at, own.sequence = part.end_of(sequence), sequence
        own.chain = part.chain_after(sequence)
        return True

    def is_there(self) -> bool:
        """True while the name of the part leads to it."""
        held, named = self._disk.status(self._fd), self._disk.identity(self.path)
        return named is not None and named[:2] == (held.st_dev, held.st_ino)

    def close(self) -> None:
        self._disk.close(self._fd)

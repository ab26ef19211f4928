"""What a database on the disk consists of: its snapshot and the parts of the journal after it.

The snapshot says which record it ends with, so the journal must go on with exactly the next one,
from part to part, and each part names the checksum of what was before it. Parts from before the
snapshot are what an interrupted save left: they are not read. Where the snapshot is damaged, all
parts are read: a journal that begins with record 1 makes up for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pyzdb.errors import CorruptFile
from pyzdb.storage.disk import Disk, damage
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import HEADER_SIZE, Part, Record, part_names, read_part
from pyzdb.storage.snapshot import Snapshot, State, read_snapshot


@dataclass
class Contents:
    """A database as far as it is good: ``parts`` are those that continue the snapshot, ``beyond``
    the paths of those from the first ``damages`` on, ``stale`` of those before the snapshot;
    ``sequence`` and ``chain`` are what the next record continues."""

    snapshot: Snapshot | None = None
    parts: list[Part] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    damages: list[CorruptFile] = field(default_factory=list)
    sequence: int = 0
    chain: int = 0

    @property
    def state(self) -> State | None:
        return None if self.snapshot is None else self.snapshot.state

    @property
    def journal_size(self) -> int:
        """Bytes that the records after the snapshot take."""
        return sum(part.end - HEADER_SIZE for part in self.parts)

    @property
    def torn_part(self) -> Part | None:
        """The part with a torn tail, if there is one."""
        return self.parts[-1] if self.parts and self.parts[-1].torn else None

    def records(self) -> Iterator[Record]:
        """Yield every record after the snapshot."""
        for part in self.parts:
            yield from part.bodies()

    def chain_after(self, sequence: int) -> int:
        """The checksum that the record after another one continues, which is the last of the
        snapshot or one of `records`."""
        for part in reversed(self.parts):
            if part.first <= sequence + 1:
                return part.chain_after(sequence)
        return self.chain


def read_contents(disk: Disk, filename: str) -> Contents:
    """Read a database. Raises CorruptFile for its first damage, FileNotFoundError when a part is
    removed meanwhile by the server that writes it."""
    contents = examine(disk, filename)
    if contents.damages:
        first = contents.damages.pop(0)
        try:
            raise first
        finally:
            del first
    return contents


def examine(disk: Disk, filename: str) -> Contents:
    """Read a database whatever its state; every damage that was found is in ``damages``."""
    contents = Contents()
    try:
        contents.snapshot = read_snapshot(disk, filename)
    except CorruptFile as error:
        contents.damages.append(error.with_traceback(None))  # which would lead back to contents
    if contents.snapshot is not None:
        contents.sequence, contents.chain = contents.snapshot.sequence, contents.snapshot.chain
    start = contents.sequence
    for first, path in part_names(disk, filename):
        if first <= start:
            contents.stale.append(path)
            continue
        try:
            part = read_part(disk.content(path), path)
            if contents.beyond:
                contents.beyond.append(path)
            else:
                _add(contents, part, filename)
        except CorruptFile as error:
            contents.damages.append(error.with_traceback(None))
            contents.beyond.append(path)
    if contents.stale and not contents.parts and not contents.beyond:
        why = f"the part with record {start + 1} is missing; {_apart(filename)}"
        contents.damages.append(damage(contents.stale[0], 0, why))
    return contents


def _apart(filename: str) -> str:
    """What to do with a snapshot and a journal that do not belong together."""
    return (
        f"if another {filename} was put beside its journal, such as an older copy: to go on with "
        f"what that holds and nothing else, put every {Layout(filename).all_parts} aside"
    )


def _add(contents: Contents, part: Part, filename: str) -> None:
    before = contents.torn_part
    if before is not None:
        raise damage(before.filename, before.end, "its last record is not whole")
    if part.first != contents.sequence + 1:
        missing = f"{contents.sequence + 1} to {part.first - 1}"
        why = f"records {missing} before it are missing"
        raise damage(part.filename, 0, why if contents.parts else f"{why}; {_apart(filename)}")
    if part.previous != contents.chain:
        why = "it belongs to another journal"
        raise damage(part.filename, 0, why if contents.parts else f"{why}; {_apart(filename)}")
    contents.parts.append(part)
    contents.sequence, contents.chain = part.sequence, part.chain

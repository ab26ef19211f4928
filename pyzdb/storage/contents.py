"""What a database on the disk consists of: its snapshot and the parts of the journal after it.

The snapshot says which record it ends with, so the journal must go on with exactly the next one,
from part to part, and each part names the checksum of what was before it. Parts from before the
snapshot are what an interrupted save left: they are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pyzdb.storage.disk import Disk, damage, free_name
from pyzdb.storage.parts import HEADER_SIZE, Part, part_names, read_part
from pyzdb.storage.snapshot import Snapshot, State, read_snapshot


@dataclass
class Contents:
    """A whole database. ``parts`` are the live ones, ``stale`` the paths of those that are not,
    ``sequence`` and ``chain`` what the next record continues."""

    snapshot: Snapshot | None
    parts: list[Part]
    stale: list[str]
    sequence: int
    chain: int

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

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Yield (sequence, body) of every record after the snapshot."""
        for part in self.parts:
            yield from part.bodies()


def read_contents(disk: Disk, filename: str) -> Contents:
    """Read a database. Raises CorruptFile at its first damage, FileNotFoundError when a part is
    removed meanwhile by the server that writes it."""
    snapshot = read_snapshot(disk, filename)
    sequence, chain = (snapshot.sequence, snapshot.chain) if snapshot else (0, 0)
    contents = Contents(snapshot, [], [], sequence, chain)
    names = part_names(disk, filename)
    live = [path for first, path in names if first > sequence]
    contents.stale = [path for first, path in names if first <= sequence]
    if contents.stale and not live:
        raise damage(contents.stale[0], 0, f"the part with record {sequence + 1} is missing")
    for path in live:
        _add(contents, read_part(disk.content(path), path), path is live[-1])
    return contents


def _add(contents: Contents, part: Part, last: bool) -> None:
    if part.first != contents.sequence + 1:
        missing = f"{contents.sequence + 1} to {part.first - 1}"
        raise damage(part.filename, 0, f"records {missing} before it are missing")
    if part.previous != contents.chain:
        raise damage(part.filename, 0, "it belongs to another journal")
    if not last and not part.closed:
        raise damage(part.filename, part.end, "it stops without its end mark")
    contents.parts.append(part)
    contents.sequence, contents.chain = part.sequence, part.next_previous


def keep_aside(disk: Disk, path: str, data: bytes) -> str:
    """Write what will be cut from ``path`` to a file of its own beside it, and return its path.

    It is on the disk, name included, when this returns.
    """
    aside = free_name(disk, f"{path}.broken")
    fd = disk.create(aside, exclusive=True)
    try:
        disk.write(fd, data, 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.sync_folder(os.path.dirname(path))
    return aside

"""Make a damaged database one that can be opened, with all that is good before the damage.

Rules this module keeps:

- Nothing is thrown away: what does not fit is kept beside the database, in files ending in
  ``.broken``, and is on the disk there before it goes from where it was.
- An interrupted repair leaves a damaged database, and to repair again goes on from there.
"""

from __future__ import annotations

import os

from pyzdb.errors import StorageError
from pyzdb.storage.aside import quarantine
from pyzdb.storage.contents import Contents, examine
from pyzdb.storage.disk import Disk, free_name
from pyzdb.storage.layout import Layout, broken
from pyzdb.storage.parts import HEADER_SIZE


def unrepairable(filename: str, contents: Contents) -> str | None:
    """Why a database cannot be repaired; None when it can."""
    is_bad, is_gone = _snapshot_is_bad(filename, contents), _snapshot_is_gone(filename, contents)
    if contents.sequence or not (is_bad or is_gone):
        return None
    return (
        f"{filename} is {'damaged' if is_bad else 'gone'} and no journal from record 1 on makes up "
        "for it: put an older copy of the database in its place"
    )


def repair(disk: Disk, filename: str) -> list[str]:
    """Keep the good prefix of a database that nobody holds, and return a line for each thing that
    was done. Raises StorageError when there is nothing to keep."""
    done: list[str] = []
    contents = examine(disk, filename)
    while contents.damages:
        reason = unrepairable(filename, contents)
        if reason is not None:
            raise StorageError(reason)
        if _snapshot_is_bad(filename, contents):
            done.append(_put_aside(disk, filename))
        elif contents.beyond:
            done += _drop(disk, contents)
        else:
            done += [_put_aside(disk, path) for path in contents.stale]
        contents = examine(disk, filename)
    torn = contents.torn_part
    if torn is not None:
        done.append(_cut(disk, torn.filename, torn.end))
    return done


def _snapshot_is_bad(filename: str, contents: Contents) -> bool:
    return any(error.filename == filename for error in contents.damages)


def _snapshot_is_gone(filename: str, contents: Contents) -> bool:
    """True when the journal continues a snapshot that is not there."""
    first = Layout(filename).first_of(contents.beyond[0]) if contents.beyond else None
    return contents.snapshot is None and first is not None and first > 1


def _drop(disk: Disk, contents: Contents) -> list[str]:
    """Put the parts from the first damaged one on aside, the last of them first."""
    damaged, *others = contents.beyond
    done = [_put_aside(disk, path) for path in reversed(others)]
    offset = next((e.offset for e in contents.damages if e.filename == damaged), 0)
    if offset < HEADER_SIZE:
        return [*done, _put_aside(disk, damaged)]
    return [*done, _cut(disk, damaged, offset)]


def _put_aside(disk: Disk, path: str) -> str:
    aside = free_name(disk, broken(path))
    disk.rename(path, aside)
    disk.sync_folder(os.path.dirname(path))
    return f"{path} was put aside as {aside}"


def _cut(disk: Disk, path: str, offset: int) -> str:
    rest = disk.content(path)[offset:].rstrip(b"\0")
    aside = quarantine(disk, path, rest)
    fd = disk.open(path, write=True)
    try:
        disk.truncate(fd, offset)
        disk.sync(fd)
    finally:
        disk.close(fd)
    return f"{path} was cut at offset {offset}; the {len(rest)} bytes after it are kept in {aside}"

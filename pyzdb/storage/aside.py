"""What is kept beside a database when its files are put in order: nothing is thrown away.

Rules this module keeps:

- What is cut or replaced is on the disk under another name first.
- No file that is there is written over: what is kept gets a name that is free.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from pyzdb.storage.contents import Contents
from pyzdb.storage.disk import Disk, free_name, remove
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.layout import Layout, broken
from pyzdb.storage.snapshot import State, write_snapshot


def put_in_order(disk: Disk, filename: str, contents: Contents) -> list[str]:
    """Make of what was found, which has no damage, what a server can go on from; return a line for
    each thing that the operator should know.

    A torn tail is kept, and cut when the journal goes on; what an interrupted save left is removed.
    """
    layout, notes = Layout(filename), []
    torn = contents.torn_part
    if torn is not None:
        aside = quarantine(disk, torn.filename, torn.torn)
        notes.append(
            f"{torn.filename} ended in an unfinished write: {len(torn.torn)} bytes from offset "
            f"{torn.end} on were cut and are kept in {aside}"
        )
    snapshot = contents.snapshot
    if snapshot is not None and snapshot.plain:
        notes.append(
            f"{filename} is the pickle of another program; it is kept as "
            f"{keep_original(disk, filename)}, and what it holds is served"
        )
    if contents.sequence and not contents.parts:
        notes.append(f"there is no journal beside {filename}: it is as it was saved")
    if disk.exists(layout.rescued):
        notes.append(
            f"{layout.rescued} is what a server held whose files were removed or replaced, and it "
            f"is not served: to go on with that, end this server and put it in the place of "
            f"{filename}, with no {layout.all_parts} beside it; otherwise move it away"
        )
    # The name of the snapshot must be on the disk before the parts that it replaces go.
    disk.sync_folder(layout.folder)
    for path in (*contents.stale, layout.snapshot_aside, layout.part_aside):
        remove(disk, path)
    return notes


def rescue(
    disk: Disk,
    filename: str,
    folder: FileFolder,
    state: Callable[[], State],
    sequence: int,
    chain: int,
) -> str:
    """Write a snapshot that takes nothing's place, and say how to use it. What follows ``filename``
    is what `write_snapshot` takes."""
    layout = Layout(filename)
    path = free_name(disk, layout.rescued)
    try:
        fd = disk.create(path, exclusive=True)
        try:
            write_snapshot(disk, fd, state(), sequence, chain, folder)
        finally:
            disk.close(fd)
        disk.sync_folder(layout.folder)
    except Exception as error:  # pickling raises whatever a value of a user's own type does
        return f"what it held could not be kept in {path}: {error}"
    return (
        f"what it held is kept in {path}: to go on with that, put it in the place of "
        f"{filename}, with no {layout.all_parts} beside it"
    )


def keep_original(disk: Disk, path: str) -> str:
    """Give a file that another one will replace a second name, and return that path."""
    identity, kept = disk.identity(path), Layout(path).original
    if disk.identity(kept) == identity:  # an interrupted start did it
        return kept
    kept = free_name(disk, kept)
    try:
        disk.link(path, kept)
    except OSError:  # a file system without links
        _write(disk, kept, disk.content(path))
    disk.sync_folder(os.path.dirname(path))
    return kept


def quarantine(disk: Disk, path: str, data: bytes) -> str:
    """Write what will be cut from ``path`` to a file of its own beside it, and return its path.

    It is on the disk, name included, when this returns.
    """
    aside = free_name(disk, broken(path))
    _write(disk, aside, data)
    disk.sync_folder(os.path.dirname(path))
    return aside


def _write(disk: Disk, path: str, data: bytes) -> None:
    fd = disk.create(path, exclusive=True)
    try:
        disk.write(fd, data, 0)
        disk.sync(fd)
    except OSError:
        disk.unlink(path)
        raise
    finally:
        disk.close(fd)

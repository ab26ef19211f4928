"""Folders for the files of a run, on a file system where a sync costs what it costs users.

A file system in memory (tmpfs) makes every fdatasync free, so a folder on one is the last choice,
and the report says so.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems that keep nothing on a disk."""


def file_system(path: Path) -> str:
    """Return the type of the file system that a path is on, "unknown" where nothing tells."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    found: tuple[int, str] = (0, "unknown")
    real = Path(os.path.realpath(path))
    for line in mounts.splitlines():
        _, mount, kind, *_ = line.split(" ")
        if real.is_relative_to(mount) and len(mount) >= found[0]:
            found = (len(mount), kind)
    return found[1]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the temporary folder, or in the current one when that is on a disk and the
    temporary one is not; it is removed at the end."""
    places = [Path(tempfile.gettempdir()), Path.cwd()]
    place = next((place for place in places if file_system(place) not in MEMORY), places[0])
    with tempfile.TemporaryDirectory(
        prefix="pyzdb-benchmarks-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)

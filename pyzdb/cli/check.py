"""Check the files of a database: what they hold, and every damage with its file and offset.

The exit status is 0 when the database is whole and 1 when it is not: when a file is damaged, a
record cannot be done again, or a large file that the tree names is missing. It is 3 when nothing
was checked because a server has the database: end the server first, or check a copy that was made
as for a backup. An unfinished write at the end of the journal is not damage: nobody was told of it,
and the next start of the server cuts it off.

--repair keeps what is good from the start up to the first damage, and puts the rest aside in files
that end in .broken beside the database; nothing is thrown away. Without --repair nothing is
written, and no permission to write is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyzdb.cli import OK, Arguments, fail, parser_of, run
from pyzdb.engine.replica import Replica
from pyzdb.errors import FileInUse
from pyzdb.paths import Path, Value, path_text
from pyzdb.storage.contents import Contents, examine
from pyzdb.storage.disk import Disk, database_path
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.file_lock import FileLock
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import Part, part_names
from pyzdb.storage.repair import repair, unrepairable
from pyzdb.values.types import File

IN_USE = 3
"""The exit status when nothing was checked."""


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Check one database, and repair it when asked; return the exit status."""
    parser = parser_of(__doc__, prog)
    parser.add_argument("db_filename", help="the database file")
    parser.add_argument(
        "--repair", action="store_true", help="keep the good part, and put the rest aside"
    )
    given = parser.parse_args(arguments)
    return run(lambda: _check_unused(given.db_filename, given.repair))


def _check_unused(filename: str, wanted: bool) -> int:
    try:
        return _check(filename, wanted)
    except FileInUse as error:
        return fail(
            f"{error}: nothing was checked; end that process first, or check a copy", IN_USE
        )


def _check(filename: str, wanted: bool) -> int:
    disk = Disk()
    path = database_path(filename)
    if not disk.exists(path) and not part_names(disk, path):
        return fail(f"there is no database {path}")
    with _held(disk, path, writing=False):
        contents = examine(disk, path)
        _describe(path, contents)
    if wanted and (contents.damages or contents.torn_part) and not unrepairable(path, contents):
        with _held(disk, path, writing=True):
            for line in repair(disk, path):
                print(line)
            contents = examine(disk, path)
    if contents.damages:
        way_out = unrepairable(path, contents) or "--repair keeps what comes before the damage"
        return fail(f"{path} is damaged: {way_out}")
    missing = list(_missing(FileFolder(disk, path), disk, contents))
    for line in missing:
        print(line)
    if missing:
        return fail(f"{path} is whole, but {len(missing):,} of its large files are missing")
    print(f"{path} is whole, up to record {contents.sequence}")
    return OK


def _missing(folder: FileFolder, disk: Disk, contents: Contents) -> Iterator[str]:
    """A line for each large file that the tree names and that is not there. Raises CorruptFile
    for a record that cannot be done."""
    database = Replica(folder)
    database.load(contents.state, 0 if contents.snapshot is None else contents.snapshot.sequence)
    for sequence, body in contents.records():
        database.replay(sequence, body)
    for path, file in _files_in(database.tree.root, ()):
        if file.location is not None and not disk.exists(file.location):
            yield f"{path_text(path)}: {file.location} is missing"


def _files_in(value: Value, path: Path) -> Iterator[tuple[Path, File]]:
    if isinstance(value, File):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _files_in(child, (*path, key))
    elif isinstance(value, list | tuple):
        for place, child in enumerate(value):
            yield from _files_in(child, (*path, place))


@contextmanager
def _held(disk: Disk, path: str, writing: bool) -> Iterator[None]:
    lock = FileLock(disk, path, writing)
    try:
        yield
    finally:
        lock.release()


def _describe(path: str, contents: Contents) -> None:
    if contents.snapshot is not None:
        size, sequence = contents.snapshot.size, contents.snapshot.sequence
        print(f"{path}: snapshot, {size:,} bytes, up to record {sequence}")
    for stale in contents.stale:
        print(f"{stale}: saved already, will be removed")
    for part in contents.parts:
        print(f"{part.filename}: {_of_part(part)}")
    folder = Layout(path).large_files
    if os.path.isdir(folder):
        with os.scandir(folder) as entries:
            sizes = [entry.stat(follow_symlinks=False).st_size for entry in entries]
        print(f"{folder}: {len(sizes):,} large files, {sum(sizes):,} bytes")
    for error in contents.damages:
        print(error)
    for beyond in contents.beyond[1:]:
        print(f"{beyond}: comes after the damage")


def _of_part(part: Part) -> str:
    text = f"records {part.first} to {part.sequence}" if part.records else "no records yet"
    text = f"journal, {part.end:,} bytes, {text}"
    if part.torn:
        text += f"; then {len(part.torn):,} bytes of an unfinished write at offset {part.end}"
    return text

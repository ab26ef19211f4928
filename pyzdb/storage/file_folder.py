"""The folder of a database's large files, and how a File in it is stored and told.

A File is stored with its name in the folder for its location, so that a database can be moved with
its files, and told with its full path. Earlier versions stored the full path: such a location is
found again by its name, which is like no other, in the folder as it is now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pyzdb.paths import Value
from pyzdb.storage.disk import Disk
from pyzdb.storage.layout import Layout
from pyzdb.values.types import Custom, File

PREFIX_BYTES = 8
"""Random bytes before a name: no two files ever get the same ones."""

_OWN_NAME = re.compile(rf"[0-9a-f]{{{2 * PREFIX_BYTES}}}-.*", re.DOTALL)


class FileFolder:
    """The folder of the database file ``filename``, or the one at ``path``."""

    def __init__(self, disk: Disk, filename: str, path: str | None = None) -> None:
        self._disk = disk
        self.path = disk.real_path(Layout(filename).large_files if path is None else path)

    def told(self, file: File) -> File:
        """A File that was stored, with its full path."""
        location = file.location
        if location is None:
            return file
        name = os.path.basename(location)
        path = os.path.join(self.path, name)
        if os.path.isabs(location) and not (
            location != path and _OWN_NAME.fullmatch(name) and self._disk.exists(path)
        ):
            return file
        return File(path, file.filename)

    def stored(self, file: File) -> File:
        """A File as it is stored."""
        location = file.location
        if location is None or os.path.dirname(location) != self.path:
            return file
        return File(os.path.basename(location), file.filename)


def with_files(value: Value, change: Callable[[File], File]) -> Value:
    """Change every File in a value; a value without one comes back itself."""
    return _changed(value, change) if holds_file(value) else value


def holds_file(value: Value) -> bool:
    """True when a File lies in a value."""
    if isinstance(value, dict):
        return any(map(holds_file, value)) or any(map(holds_file, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_file, value))
    if isinstance(value, Custom):
        return holds_file(value.fields)
    return isinstance(value, File)


def _changed(value: Value, change: Callable[[File], File]) -> Value:
    if isinstance(value, dict):
        return {_changed(key, change): _changed(child, change) for key, child in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)([_changed(child, change) for child in value])
    if isinstance(value, Custom):
        return Custom(value.name, _changed(value.fields, change))
    return change(value) if isinstance(value, File) else value

"""A database put together from its file: the disk, the store, the large files and the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyzdb.engine.database import Database
from pyzdb.engine.replica import Replica
from pyzdb.storage.disk import Disk, database_path
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.files import Files
from pyzdb.storage.journal import Fsync
from pyzdb.storage.layout import Layout


def database_at(
    filename: str,
    *,
    fsync: Fsync = "always",
    files_from: Sequence[str] = (),
    notice: str = "",
    disk: Disk | None = None,
    new_store: Callable[..., FileStore] = FileStore,
    **options: Any,
) -> tuple[Database, FileStore]:
    """The database of a file, and its store; nothing is read before `Database.take`.

    ``files_from`` are the folders that a File may be moved from, ``notice`` is left for others
    beside the lock, ``disk`` (default: that of the machine) is where the files are, ``options`` are
    those of a `Database`. Raises StorageError for what cannot be a database's file.
    """
    path = database_path(filename)
    disk = disk or Disk()
    store = new_store(path, fsync, disk, notice=notice)
    files = Files(disk, Layout(path).large_files, files_from, path)
    return Database(store, files=files, **options), store


def replica_at(filename: str) -> Replica:
    """A replica of the database of a file, which holds nothing yet. Raises StorageError."""
    return Replica(FileFolder(Disk(), database_path(filename)))

"""What every test may use: shared settings, and a database on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import Engine, Start
from hypothesis import settings

from pyzdb.storage.disk import Disk
from pyzdb.storage.store import FileStore, MemoryStore, Store

# An example may start a process or wait for a disk that others use too: only its result counts.
settings.register_profile("pyzdb", deadline=None)
settings.load_profile("pyzdb")


@pytest.fixture(params=["memory", "disk"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start an engine on an empty database, once a test: `start(disk=None, **options)`."""
    engines = []

    def begin(disk: Disk | None = None, **options: Any) -> Engine:
        path = tmp_path / "db.pkl" if request.param == "disk" or disk is not None else None
        store: Store = MemoryStore() if path is None else FileStore(path, disk=disk)
        engines.append(Engine(store, path, **options))
        return engines[-1]

    yield begin
    for engine in engines:
        engine.store.close()


@pytest.fixture
def engine(start: Start) -> Engine:
    """An engine on an empty database, in memory and on the disk."""
    return start()

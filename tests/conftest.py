"""What every test may use: shared settings, and servers and clients that surely end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pyzdb.client import client
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.memory import MemoryStore
from pyzdb.storage.store import Store
from tests.support.engine import Engine, Start
from tests.support.programs import Server
from tests.support.without import taken_away

# A shell starts what it runs in the background with Ctrl-C ignored, and so would our programs be.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may start a process or wait for a disk that others use too: only its result counts.
settings.register_profile("pyzdb", deadline=None, stateful_step_count=20)
settings.register_profile("thorough", deadline=None, max_examples=500, stateful_step_count=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "pyzdb"))

SERVERS = pytest.StashKey[list[Server]]()
"""The servers that a test has started."""


@pytest.fixture
def start_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start servers in the test's folder: ``start_server(*options, writer=None)``."""
    servers = request.node.stash[SERVERS] = []
    with ExitStack() as stack:

        def start(*options: str, writer: Server | None = None) -> Server:
            server = Server(tmp_path, *options, writer=writer)
            servers.append(server)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server without options."""
    return start_server()


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Make clients that are closed at the end: `connect(write_uri, read_uri=None)` gives a `db`."""
    with ExitStack() as stack:

        def open_one(*uris: str, **options: Any) -> Any:
            db, connection = client(*uris, **options)
            stack.enter_context(connection)
            return db

        yield open_one


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers of a test said when it fails."""
    report = yield
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"log of {server.log.name}", server.said()))
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*words): what a test does itself, as in support/without"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that cannot be done themselves with what was taken away."""
    words = taken_away()
    out = [item for item in items for mark in item.iter_markers("needs") if words & set(mark.args)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A large file in a folder of its own, from which a database may take it."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "report.pdf"
    path.write_bytes(b"the report")
    return path

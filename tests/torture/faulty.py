"""A server whose disk has faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pyzdb.cli import run
from pyzdb.cli.serve import options_of
from pyzdb.server import serve
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from tests.torture.processes import Server

ENDS_WITHIN = 10.0
"""Seconds that a server may take to end after its disk has failed."""


class FaultyServer(Server):
    """A server that works on another disk."""

    def __init__(self, folder: Path, disk: Disk, *options: str) -> None:
        super().__init__(folder, *options)
        self.program = partial(serve_on, disk)

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def has_ended(self) -> bool:
        """True when the process has ended by itself."""
        assert self._process is not None
        return self._process.exitcode is not None

    def status(self) -> int | None:
        """The exit status, which is waited for; None when the process goes on."""
        assert self._process is not None
        self._process.join(ENDS_WITHIN)
        status = self._process.exitcode
        if status is not None:
            self._process.close()
            self._process = None
        return status


def serve_on(
    disk: Disk, arguments: Sequence[str], new_store: Callable[..., FileStore] = FileStore
) -> int:
    """Run a server on a disk, with the store that ``new_store`` makes there."""
    options = options_of(arguments)
    return run(lambda: serve(options, disk, new_store))

"""What the tests of damaged files share: a database in memory that was killed, to be damaged in
copies; and a planted fault that no test of damage may miss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

from pyzdb.engine.database import HISTORY_LIMIT, Database
from pyzdb.protocol.messages import Request, encode_request
from pyzdb.storage import parts, snapshot
from tests.torture.ledger import Ledger
from tests.torture.memory import FILENAME, INCOMING, MemoryDisk, database_on
from tests.torture.workload import Workload

KINDS = ("a journal", "a snapshot and a journal", "a journal of two parts")
"""What a database may consist of; it is the last after a save that was interrupted."""

NO_CHECKSUM = "no-checksum"
"""The planted fault: every checksum is 0, written and read."""


class Victim:
    """A database that consists of one of KINDS, with so many ``records`` in each file; all of them
    are acknowledged, and ``ledger`` knows how it was after each."""

    def __init__(self, random: Random, folder: Path, kind: str, records: int) -> None:
        self.filename = str(folder / FILENAME)
        self.ledger = Ledger()
        self._folder = folder
        self._disk = MemoryDisk()
        database = self.database(self._disk)
        database.open()
        workload = Workload(random, database, self._disk, str(folder / INCOMING))
        self._fill(workload, records)
        if kind == KINDS[1]:
            database.save()
        elif kind == KINDS[2]:
            database.handle(encode_request(Request("write", 2, (), "save")))
        if kind != KINDS[0]:
            self._fill(workload, database.sequence + records)
        self.parts = [path for _, path in parts.part_names(self._disk, self.filename)]

    def _fill(self, workload: Workload, sequence: int) -> None:
        database = workload.database
        self.ledger.note(database)
        while database.lock.held is not None or database.sequence < sequence:
            workload.step()
            self.ledger.note(database)
            database.flush()
            self.ledger.acknowledged = database.sequence

    def content(self, path: str) -> bytes:
        """What the files held when it was killed."""
        return self._disk.content(path)

    def damaged(self, path: str, content: bytes) -> MemoryDisk:
        """A copy of the disk with another content of one file."""
        disk = self._disk.copy()
        disk.put(path, content)
        return disk

    def database(self, disk: MemoryDisk) -> Database:
        """The database on a copy of its disk, not yet opened."""
        # With the usual limit a start makes no record of it, so nothing follows a cut.
        return database_on(disk, self._folder, history_limit=HISTORY_LIMIT)


@contextlib.contextmanager
def planted(fault: str | None) -> Iterator[None]:
    """Have the fault while the block runs."""
    if fault is None:
        yield
        return
    with patch.object(parts, "crc32", _nothing), patch.object(snapshot, "crc32", _nothing):
        yield


def _nothing(data: bytes, start: int = 0) -> int:
    return 0

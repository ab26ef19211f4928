"""What the tests of damaged files share: a database in memory that was killed, to be damaged in
copies; and a planted fault that no test of damage may miss."""

from __future__ import annotations

from pathlib import Path
from random import Random
from zlib import crc32

from pyzdb.engine.database import Database
from pyzdb.engine.history import HISTORY_LIMIT
from pyzdb.protocol.requests import Write, encode_request
from pyzdb.storage import parts, snapshot
from pyzdb.storage.parts import HEADER_SIZE
from tests.torture.ledger import Ledger
from tests.torture.memory import FILENAME, INCOMING, MemoryDisk, database_on
from tests.torture.workload import Workload

KINDS = ("a journal", "a snapshot and a journal", "a journal of two parts")
"""What a database may consist of; it is the last after a save that was interrupted."""

NO_CHECKSUM = "no-checksum"
"""The planted fault: no checksum tells of a damage, as each fits what the file holds by then."""

CHECKSUM_SIZE = 4
"""Bytes of a checksum: it stands last in every header, and in that of a record there are two."""


class Victim:
    """A database that consists of one of KINDS, with so many ``records`` in each file; all of them
    are acknowledged, and ``ledger`` knows how it was after each. ``plant`` is NO_CHECKSUM or None.
    """

    def __init__(
        self, random: Random, folder: Path, kind: str, records: int, plant: str | None
    ) -> None:
        self._plant = plant
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
            database.handle(encode_request(Write((), "save", version=2)))
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
        disk.put(path, signed(content) if self._plant == NO_CHECKSUM else content)
        return disk

    def database(self, disk: MemoryDisk) -> Database:
        """The database on a copy of its disk, not yet opened."""
        # With the usual limit a start makes no record of it, so nothing follows a cut.
        return database_on(disk, self._folder, history_limit=HISTORY_LIMIT)


def signed(content: bytes) -> bytes:
    """A file of a database with checksums that fit what it holds, whatever that is by now."""
    if content.startswith(parts.MAGIC):
        return _signed_part(content)
    return _signed_snapshot(content) if content.startswith(snapshot.MAGIC) else content


def _signed_part(content: bytes) -> bytes:
    if len(content) < HEADER_SIZE:
        return content
    fields = content[: HEADER_SIZE - CHECKSUM_SIZE]
    seed, chain = crc32(fields), int.from_bytes(fields[-CHECKSUM_SIZE:], "little")
    signed = fields + _bytes_of(seed)
    while size := parts.record_size(content[len(signed) :]):
        record = content[len(signed) : len(signed) + size]
        if len(record) < size:
            break
        head, body = record[: HEADER_SIZE - 2 * CHECKSUM_SIZE], record[HEADER_SIZE:]
        checked = crc32(head, seed)
        chain = crc32(body, chain ^ checked)
        signed += head + _bytes_of(checked) + _bytes_of(chain) + body
    return signed + content[len(signed) :]


def _signed_snapshot(content: bytes) -> bytes:
    header, body = content[: snapshot.HEADER_SIZE - CHECKSUM_SIZE], content[snapshot.HEADER_SIZE :]
    return header + _bytes_of(crc32(header, crc32(body))) + body


def _bytes_of(checksum: int) -> bytes:
    return checksum.to_bytes(CHECKSUM_SIZE, "little")

"""The parts of a journal: what their bytes are, and what damage is.

A journal is a row of files, its parts, named after the sequence number of their first record
(layout.py). All integers are unsigned and little-endian. A part begins with a header of 32 bytes,

    ======  =====  ============================================================
    offset  bytes  meaning
    ======  =====  ============================================================
    0       8      ``pyzdbJ1`` and a line feed: format and version
    8       8      salt: random, so that no two parts take each other's records
    16      8      sequence of the first record
    24      4      checksum of the record before this part, or 0
    28      4      CRC32 of bytes 0 to 27, called the seed of the part
    ======  =====  ============================================================

and goes on with records without gaps between them:

    ======  =====  ============================================================
    offset  bytes  meaning
    ======  =====  ============================================================
    0       4      FF FE ``PR``
    4       4      length of the body
    8       8      sequence, one more than that of the record before
    16      8      sequence of the last record that was known to be on the disk
                   when this one was written
    24      4      head: CRC32 of bytes 0 to 23, starting from the seed
    28      4      checksum: CRC32 of the body, starting from the checksum of
                   the record before (of the first record: the one in the
                   header of the part) XOR the head
    32             body
    ======  =====  ============================================================

Then come zeros, which are space for more records. A part is complete once there is one after it,
whose header says which checksum it ends with.

What the rules of reading are:

- A write that a crash interrupted stops short, before zeros or the end of the file, or leaves
  whole sectors of zeros. When the first record that fails its checksum is like that, and no
  whole head after it says that it had been on the disk, it and the rest are a torn tail: nobody was
  told of it, so it can be cut.
- Everything else that fails its checksum, one wrong bit or a record from elsewhere, is damage:
  CorruptFile with the file and the offset.
- The mark is not UTF-8, and the salt is told to nobody, so no body can pass for a record.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

from pyzdb.storage.disk import Disk, damage, newer
from pyzdb.storage.layout import Layout, is_part_of

VERSION = 1
MAGIC = b"pyzdbJ%d\n" % VERSION
_VERSION = re.compile(rb"pyzdbJ(\d+)\n")
MARK = b"\xff\xfePR"

_PART = struct.Struct("<8sQQII")
_RECORD = struct.Struct("<4sIQQII")
_HEAD = struct.Struct("<4sIQQ")
_CHECKS = struct.Struct("<II")
"""A header of a record, and its two halves: what its own checksum covers, and the checksums."""

HEADER_SIZE = _RECORD.size

_CHECKSUM_SIZE = 4
"""Bytes of the checksum, which stands last in the header of a record."""

_PART_CHECKED = 28
_RECORD_CHECKED = _HEAD.size
"""Bytes of a header that its own checksum covers."""

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

MAX_BODY = 0xFFFF_FFFF
"""Bytes of one record's body: what its length field can say."""


Record = tuple[int, bytes]
"""Sequence and body of a record."""

RecordSpan = tuple[int, int, int]
"""Of a record: sequence, start and end of its body in ``data``. A plain tuple, as there are as
many as records."""


class _Head(NamedTuple):
    length: int
    synced: int


@dataclass
class Part:
    """What was found in one part: ``end`` (bytes) is where the next record goes, ``chain`` the
    checksum that it continues, ``synced`` the sequence of the last record that the part itself
    says had been on the disk, ``torn`` the bytes after ``end`` that are a torn tail.

    ``data`` is what was read of it, from offset ``at`` on (0: from its start); ``records`` and
    ``end`` count from there."""

    filename: str
    data: bytes
    first: int
    previous: int
    seed: int
    records: list[RecordSpan] = field(default_factory=list)
    sequence: int = 0
    chain: int = 0
    synced: int = 0
    end: int = HEADER_SIZE
    torn: bytes = b""
    at: int = 0

    def bodies(self) -> Iterator[Record]:
        """Yield (sequence, body) of every record."""
        for sequence, start, end in self.records:
            yield sequence, self.data[start:end]

    def end_of(self, sequence: int) -> int:
        """Where the record ``sequence`` ends; where the records begin, for an earlier one."""
        if sequence < self.first:
            return HEADER_SIZE
        return self.records[sequence - self.first][2]

    def chain_after(self, sequence: int) -> int:
        """The checksum of one of the ``records``, which the next one continues; of an earlier
        record, what the part itself continues."""
        if not self.records or sequence < self.records[0][0]:
            return self.previous
        _, start, _ = self.records[sequence - self.records[0][0]]
        return int.from_bytes(self.data[start - _CHECKSUM_SIZE : start], "little")

    def cut_after(self, sequence: int) -> None:
        """Let the part end with one of its ``records``, if it has more."""
        if sequence < self.sequence:
            del self.records[sequence - self.sequence :]
            self.chain = self.chain_after(sequence)
            self.sequence, self.end = sequence, self.records[-1][2]


def part_names(disk: Disk, filename: str) -> list[tuple[int, str]]:
    """(first sequence, path) of every part of a database, in order."""
    layout = Layout(filename)
    paths = (os.path.join(layout.folder, name) for name in disk.names(layout.folder))
    found = ((layout.first_of(path), path) for path in paths)
    return sorted((first, path) for first, path in found if first is not None)


def part_header(first: int, previous: int, salt: bytes) -> tuple[bytes, int]:
    """The header of a new part and its seed."""
    bare = _PART.pack(MAGIC, int.from_bytes(salt, "little"), first, previous, 0)[:_PART_CHECKED]
    seed = crc32(bare)
    return bare + seed.to_bytes(4, "little"), seed


def record_head(
    body: bytes, sequence: int, synced: int, previous: int, seed: int
) -> tuple[bytes, int]:
    """What comes before the body of a record, and its checksum."""
    head = _HEAD.pack(MARK, len(body), sequence, synced)
    head_check = crc32(head, seed)
    check = crc32(body, previous ^ head_check)
    return head + _CHECKS.pack(head_check, check), check


def read_header(data: bytes, filename: str) -> Part:
    """Begin to read a part. Raises CorruptFile when its header fails its checksum,
    and NewerFormat."""
    if len(data) < HEADER_SIZE:
        raise damage(filename, 0, "it has no whole header")
    magic, _, first, previous, seed = _PART.unpack_from(data)
    if magic != MAGIC and _is_newer(data):
        raise newer(filename)
    if magic != MAGIC or crc32(data[:_PART_CHECKED]) != seed:
        raise damage(filename, 0, "its header fails its checksum")
    if not is_part_of(filename, first):
        raise damage(filename, 0, f"it is the part of record {first}")
    return Part(filename, data, first, previous, seed, sequence=first - 1, chain=previous)


def _is_newer(data: bytes) -> bool:
    """True for a part of a later version, and not one whose version alone is damaged."""
    version = _VERSION.match(data)
    if version is None or int(version[1]) <= VERSION:
        return False
    checksum = crc32(MAGIC + data[len(MAGIC) : _PART_CHECKED])
    return data[_PART_CHECKED:HEADER_SIZE] != checksum.to_bytes(4, "little")


def record_size(data: bytes) -> int:
    """Bytes that the record at the start of ``data`` says it takes, its header included; 0 when
    there is none."""
    if len(data) < HEADER_SIZE or data[:4] != MARK:
        return 0
    return HEADER_SIZE + int(_RECORD.unpack_from(data)[1])


def read_records(part: Part) -> None:
    """Add the records of ``part.data`` from ``part.end`` on, as far as they are whole.

    Raises CorruptFile for a record that does not continue the one before it.
    """
    data, view, seed = part.data, memoryview(part.data), part.seed
    size = len(data)
    offset, sequence, chain, synced = part.end, part.sequence, part.chain, part.synced
    unpack, add = _RECORD.unpack_from, part.records.append
    try:
        while (start := offset + HEADER_SIZE) <= size:
            mark, length, number, known, head, check = unpack(data, offset)
            if mark != MARK or crc32(view[offset : offset + _RECORD_CHECKED], seed) != head:
                break
            if number != sequence + 1:
                why = f"record {number} does not continue record {sequence}"
                raise damage(part.filename, part.at + offset, why)
            end = start + length
            if end > size or crc32(view[start:end], chain ^ head) != check:
                break
            add((number, start, end))
            offset, sequence, chain, synced = end, number, check, known
    finally:
        part.end, part.sequence, part.chain, part.synced = offset, sequence, chain, synced


def read_part(data: bytes, filename: str) -> Part:
    """Read a whole part. Raises CorruptFile for damage; a torn tail is not damage."""
    part = read_header(data, filename)
    read_records(part)
    written = data[part.end :].rstrip(b"\0")
    if not written:
        return part
    if not _is_torn(part, written):
        raise damage(filename, part.end, f"what follows record {part.sequence} fails its checksum")
    if any(synced > part.sequence for synced in _claims(part)):
        why = f"record {part.sequence + 1} fails its checksum, and it had been on the disk"
        raise damage(filename, part.end, why)
    part.torn = written
    return part


def _is_torn(part: Part, written: bytes) -> bool:
    """True when the first of the bytes ``written`` after the end are an unfinished record."""
    head = _head(part, part.end)
    size = HEADER_SIZE + (head.length if head else 0)
    if len(written) < size:
        return True
    edges = [0, *range(SECTOR - part.end % SECTOR, size, SECTOR), size]
    return any(written.count(0, a, b) == b - a for a, b in pairwise(edges))


def _head(part: Part, offset: int) -> _Head | None:
    """What the head at ``offset`` says; None when it is cut or fails its checksum."""
    data = part.data[offset : offset + HEADER_SIZE]
    if len(data) < HEADER_SIZE:
        return None
    mark, length, _, synced, head, _ = _RECORD.unpack(data)
    if mark != MARK or crc32(data[:_RECORD_CHECKED], part.seed) != head:
        return None
    return _Head(length, synced)


def _claims(part: Part) -> Iterator[int]:
    """What the whole heads after the end say had been on the disk."""
    offset = part.data.find(MARK, part.end + 1)
    while offset >= 0:
        head = _head(part, offset)
        if head is not None:
            yield head.synced
        offset = part.data.find(MARK, offset + 1)

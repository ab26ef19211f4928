"""The parts of a journal: what their bytes are, and what damage is.

A journal is a row of files, its parts, named ``<database>.journal-<12 digits>`` after the
sequence number of their first record. All integers are unsigned and little-endian. A part
begins with a header of 32 bytes,

    ======  =====  ============================================================
    offset  bytes  meaning
    ======  =====  ============================================================
    0       8      ``pyzdbJ1`` and a line feed: format and version
    8       8      salt: random, so that no two parts take each other's records
    16      8      sequence of the first record
    24      4      checksum of the record or end mark before this part, or 0
    28      4      CRC32 of bytes 0 to 27, called the seed of the part
    ======  =====  ============================================================

and goes on with records without gaps between them:

    ======  =====  ============================================================
    offset  bytes  meaning
    ======  =====  ============================================================
    0       4      FF FE ``PR``; an end mark has FF FE ``PE``
    4       4      length of the body; 0 in an end mark
    8       8      sequence, one more than that of the record before; in an end
                   mark that of the last record
    16      8      sequence of the last record that was known to be on the disk
                   when this one was written
    24      4      checksum of the record before (of the first record: the one
                   in the header of the part)
    28      4      checksum: CRC32 of bytes 0 to 27 and the body, starting from
                   the seed
    32             body
    ======  =====  ============================================================

Then come zeros, the room for more records. A part that was closed in order ends with an end
mark and nothing after it; only the last part may be without.

What the rules of reading are:

- A record that does not check, with no whole record after it that says it had been on the disk,
  is a torn tail: what a crash leaves of a write that nobody was told about. It can be cut.
- Everything else that does not check is damage: CorruptFile with the file and the offset.
- The marks are no UTF-8, and the salt is told to nobody, so no body can pass for a record.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from pyzdb.errors import CorruptFile
from pyzdb.storage.disk import Disk

MAGIC = b"pyzdbJ1\n"
RECORD = b"\xff\xfePR"
END = b"\xff\xfePE"

_PART = struct.Struct("<8sQQII")
_RECORD = struct.Struct("<4sIQQII")
HEADER_SIZE = _RECORD.size
CHECKED = HEADER_SIZE - 4
"""Bytes of a header that its own checksum covers."""

MAX_BODY = 0xFFFF_FFFF
"""Bytes of one record's body: what its length field can say."""


class Record(NamedTuple):
    """Where a record lies in its part: its body is ``data[start:end]``."""

    sequence: int
    start: int
    end: int


@dataclass
class Part:
    """What was found in one part: ``end`` (bytes) is where the next record goes, ``chain`` the
    checksum that it continues, ``torn`` the bytes after ``end`` that are a torn tail."""

    filename: str
    data: bytes
    first: int
    previous: int
    seed: int
    records: list[Record] = field(default_factory=list)
    sequence: int = 0
    chain: int = 0
    end: int = HEADER_SIZE
    closed: bool = False
    mark: int = 0
    torn: bytes = b""

    @property
    def next_previous(self) -> int:
        """What the header of the part after this one must name."""
        return self.mark if self.closed else self.chain

    def bodies(self) -> Iterator[tuple[int, bytes]]:
        """Yield (sequence, body) of every record."""
        for sequence, start, end in self.records:
            yield sequence, self.data[start:end]


def part_name(filename: str, first: int) -> str:
    """The path of the part whose first record has the sequence ``first``."""
    return f"{filename}.journal-{first:012}"


def part_names(disk: Disk, filename: str) -> list[tuple[int, str]]:
    """(first sequence, path) of every part of a database, in order."""
    folder, base = os.path.split(filename)
    pattern = re.compile(re.escape(base) + r"\.journal-(\d{12,})")
    found = (pattern.fullmatch(name) for name in disk.names(folder))
    return sorted((int(match[1]), os.path.join(folder, match[0])) for match in found if match)


def part_header(first: int, previous: int, salt: bytes) -> tuple[bytes, int]:
    """The header of a new part and its seed."""
    bare = _PART.pack(MAGIC, int.from_bytes(salt, "little"), first, previous, 0)[:CHECKED]
    seed = crc32(bare)
    return bare + seed.to_bytes(4, "little"), seed


def read_header(data: bytes, filename: str) -> Part:
    """Begin to read a part. Raises CorruptFile when its header does not check."""
    if len(data) < HEADER_SIZE:
        raise CorruptFile(f"{filename} is damaged at offset 0: no header", filename, 0)
    magic, _, first, previous, seed = _PART.unpack_from(data)
    if magic != MAGIC or crc32(data[:CHECKED]) != seed:
        raise CorruptFile(f"{filename} is damaged at offset 0: its header", filename, 0)
    if not filename.endswith(f".journal-{first:012}"):
        raise CorruptFile(
            f"{filename} is damaged at offset 0: it is the part of record {first}", filename, 0
        )
    return Part(filename, data, first, previous, seed, sequence=first - 1, chain=previous)


def encode(
    kind: bytes, body: bytes, sequence: int, synced: int, previous: int, seed: int
) -> tuple[bytes, int]:
    """A record or end mark, and its checksum."""
    bare = _RECORD.pack(kind, len(body), sequence, synced, previous, 0)[:CHECKED]
    check = crc32(body, crc32(bare, seed))
    return b"".join((bare, check.to_bytes(4, "little"), body)), check


def read_records(part: Part) -> None:
    """Add the records of ``part.data`` from ``part.end`` on, as far as they are whole.

    Raises CorruptFile for a whole record that does not continue the one before it.
    """
    data, view, seed = part.data, memoryview(part.data), part.seed
    size = len(data)
    offset, sequence, chain = part.end, part.sequence, part.chain
    unpack, add = _RECORD.unpack_from, part.records.append
    try:
        while offset + HEADER_SIZE <= size:
            kind, length, number, _, previous, check = unpack(data, offset)
            if kind != RECORD and kind != END:
                break
            start = offset + HEADER_SIZE
            end = start + length
            if end > size:
                break
            if crc32(view[start:end], crc32(view[offset : offset + CHECKED], seed)) != check:
                break
            expected = sequence + 1 if kind == RECORD else sequence
            if number != expected or previous != chain:
                raise CorruptFile(
                    f"{part.filename} is damaged at offset {offset}: record {number} does not "
                    f"continue record {sequence}",
                    part.filename,
                    offset,
                )
            if kind == END:
                part.closed, part.mark = True, check
                break
            add(Record(number, start, end))
            offset, sequence, chain = end, number, check
    finally:
        part.end, part.sequence, part.chain = offset, sequence, chain


def read_part(data: bytes, filename: str) -> Part:
    """Read a whole part. Raises CorruptFile for damage; a torn tail is no damage."""
    part = read_header(data, filename)
    read_records(part)
    after = part.end + HEADER_SIZE if part.closed else part.end
    if data.count(0, after) == len(data) - after:
        return part
    if part.closed:
        raise CorruptFile(
            f"{filename} is damaged at offset {after}: it goes on after its end", filename, after
        )
    for synced in _claims(part):
        if synced > part.sequence:
            raise CorruptFile(
                f"{filename} is damaged at offset {part.end}: record {part.sequence + 1} does "
                "not check, and it had been on the disk",
                filename,
                part.end,
            )
    part.torn = data[part.end :].rstrip(b"\0")
    return part


def _claims(part: Part) -> Iterator[int]:
    """What the whole records after the end say had been on the disk."""
    data, view = part.data, memoryview(part.data)
    offset = data.find(RECORD[:3], part.end + 1)
    while 0 <= offset <= len(data) - HEADER_SIZE:
        kind, length, _, synced, _, check = _RECORD.unpack_from(data, offset)
        start = offset + HEADER_SIZE
        if (
            kind in (RECORD, END)
            and start + length <= len(data)
            and crc32(
                view[start : start + length], crc32(view[offset : offset + CHECKED], part.seed)
            )
            == check
        ):
            yield synced
        offset = data.find(RECORD[:3], offset + 1)

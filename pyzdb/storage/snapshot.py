"""A snapshot: the whole state of a database in one file, pickled.

    ======  =====  ============================================================
    offset  bytes  meaning
    ======  =====  ============================================================
    0       17     ``pyzdb snapshot 1`` and a line feed
    17      8      length of the pickle
    25      8      sequence of the last change that is in it
    33      4      checksum that the journal goes on from after that change
    37      4      CRC32 of the pickle and then of bytes 0 to 36
    41             pickle, protocol 5, of a dict
    ======  =====  ============================================================

Rules this module keeps:

- The checksum is compared before anything is unpickled, and the unpickler makes nothing but
  what the short list below names, so no file can make it run code.
- What is not on the list is pickled as what travels on the wire in its place.
- Nothing is made that this machine may not know: a named time zone stays its name (zones.py).
- A pickle without the header, of a dict or list, is read as the tree of a new database.
- Neither side holds the pickle in memory: it is streamed.
"""

from __future__ import annotations

import gc
import pickle
import re
import struct
from contextlib import closing
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import BuiltinFunctionType, FunctionType
from typing import Any, BinaryIO, NamedTuple, Protocol
from uuid import UUID, SafeUUID
from zlib import crc32

from pyzdb.errors import StorageError
from pyzdb.storage.disk import Disk, damage, newer
from pyzdb.storage.file_folder import FileFolder
from pyzdb.values.tags import from_wire, to_wire
from pyzdb.values.types import Custom, File
from pyzdb.values.zones import Moment, kept, made
from pyzdb.zones import Zone, ZoneName

State = dict[str, Any]

VERSION = 1
MAGIC = b"pyzdb snapshot %d\n" % VERSION
_VERSION = re.compile(rb"pyzdb snapshot (\d+)\n")
PLAIN_PICKLE = b"\x80"
"""The first byte of every pickle of protocol 2 or newer."""

CHUNK = 1 << 20
"""Bytes read at a time to compare the checksum: enough that the calls cost nothing."""

_HEADER = struct.Struct("<17sQQII")
HEADER_SIZE = _HEADER.size
_CHECKED = HEADER_SIZE - 4

_PYTHON_2 = {"__builtin__": "builtins"}


class Head(NamedTuple):
    """What the header says: sizes in bytes, ``checksum`` that of the file."""

    length: int
    sequence: int
    chain: int
    checksum: int


class Snapshot(NamedTuple):
    """A snapshot that was read: ``size`` is that of the file in bytes, ``plain`` is true for a
    pickle without header, which has no checksum."""

    state: State
    sequence: int
    chain: int
    size: int
    plain: bool = False


class _Pickler(pickle.Pickler):
    folder: FileFolder | None = None

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is File and self.folder is not None:
            return self.folder.stored(obj).__reduce__()
        if isinstance(obj, type | FunctionType | BuiltinFunctionType):
            return NotImplemented
        if (kind.__module__, kind.__qualname__) in NAMES:
            return NotImplemented
        return (from_wire, (to_wire(obj)[0],))


class _Name(Zone):
    """What an older snapshot has for a zone: its name alone."""

    def __init__(self, key: str) -> None:
        super().__init__(key, None, None)


_datetime_of: Any = datetime  # what a pickle holds of one is in no signature
_time_of: Any = time


def _datetime(*args: Any) -> datetime:
    moment: datetime = _datetime_of(*args)
    return _in_zone(moment) if type(moment.tzinfo) is _Name else moment


def _time(*args: Any) -> time:
    moment: time = _time_of(*args)
    return _in_zone(moment) if type(moment.tzinfo) is _Name else moment


def _in_zone(moment: Moment) -> Moment:
    """A moment of an older snapshot with the offset that its zone has here, if it is known."""
    zone = moment.tzinfo
    assert type(zone) is _Name
    bare = moment.replace(tzinfo=None)
    return kept(made(kept(bare, zone.key)), zone.key)


def _from_wire(wire: Any) -> Any:
    return from_wire(wire, keep=True)


NAMES: dict[tuple[str, str], Any] = {
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "set"): set,
    ("builtins", "slice"): slice,
    ("datetime", "date"): date,
    ("datetime", "datetime"): _datetime,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): timezone,
    ("decimal", "Decimal"): Decimal,
    ("uuid", "SafeUUID"): SafeUUID,
    ("uuid", "UUID"): UUID,
    ("zoneinfo", "ZoneInfo"): _Name,
    ("pyzdb.values", "Custom"): Custom,
    ("pyzdb.values", "File"): File,
    ("pyzdb.values", "from_wire"): _from_wire,
    ("pyzdb.zones", "Zone"): Zone,
    ("pyzdb.zones", "ZoneName"): ZoneName,
}
"""Every name that a snapshot may have, and what is called for it: values, and none that acts. The
names are those of the format, not of modules."""


class _Unpickler(pickle.Unpickler):
    folder: FileFolder | None = None

    def find_class(self, module: str, name: str) -> Any:
        known = NAMES.get((_PYTHON_2.get(module, module), name))
        if known is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is refused")
        return self._file if known is File else known

    def _file(self, *fields: Any) -> File:
        file = File(*fields)
        return file if self.folder is None else self.folder.told(file)


class SupportsWrite(Protocol):
    """What a pickle can be written to."""

    def write(self, data: Any, /) -> int: ...


class _Counted:
    """A file to pickle into, which counts and checks what passes."""

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk = disk
        self._fd = fd
        self.length = 0
        self.checksum = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._disk.write(self._fd, view, HEADER_SIZE + self.length)
        self.checksum = crc32(view, self.checksum)
        self.length += len(view)
        return len(view)


def write_snapshot(
    disk: Disk,
    fd: int,
    state: State,
    sequence: int,
    chain: int,
    folder: FileFolder | None = None,
) -> None:
    """Write a snapshot into a new file and return when it is on the disk; its name in the folder
    is not yet. ``folder`` is that of the large files."""
    file = _Counted(disk, fd)
    dump_state(state, file, folder)
    bare = _HEADER.pack(MAGIC, file.length, sequence, chain, 0)[:_CHECKED]
    check = crc32(bare, file.checksum)
    disk.write(fd, bare + check.to_bytes(4, "little"), 0)
    disk.sync(fd)


def dump_state(state: State, file: SupportsWrite, folder: FileFolder | None = None) -> None:
    """Pickle a state."""
    pickler = _Pickler(file, protocol=5)
    pickler.folder = folder
    pickler.dump(state)


def load_state(file: BinaryIO, folder: FileFolder | None = None) -> Any:
    """Make again what was pickled. Raises whatever a bad pickle leads to."""
    unpickler = _Unpickler(file)
    unpickler.folder = folder
    collecting = gc.isenabled()
    gc.disable()  # nothing becomes garbage here, and a collection looks at all that is made
    try:
        return unpickler.load()
    finally:
        if collecting:
            gc.enable()


def read_snapshot(disk: Disk, filename: str) -> Snapshot | None:
    """Read a snapshot; None when there is none. Raises CorruptFile when it fails its checksum,
    and NewerFormat."""
    try:
        opened = disk.reader(filename)
    except FileNotFoundError:
        return None
    folder = FileFolder(disk, filename)
    with closing(opened) as file:
        head = read_head(file, filename)
        if head is None:
            file.seek(0)
            return _read_plain(file, filename)
        checksum, length = _checksum(file)
        file.seek(0)
        checksum = crc32(file.read(_CHECKED), checksum)
        if length != head.length or checksum != head.checksum:
            raise damage(filename, HEADER_SIZE, "its checksum is wrong")
        file.seek(HEADER_SIZE)
        state = _unpickle(file, filename, HEADER_SIZE, folder)
        if not isinstance(state, dict):
            raise damage(filename, HEADER_SIZE, "it holds no state")
        return Snapshot(state, head.sequence, head.chain, HEADER_SIZE + length)


def _checksum(file: BinaryIO) -> tuple[int, int]:
    """The checksum and the length of what follows in a file."""
    checksum, length = 0, 0
    while data := file.read(CHUNK):
        checksum = crc32(data, checksum)
        length += len(data)
    return checksum, length


def read_head(file: BinaryIO, filename: str) -> Head | None:
    """Read the header of a snapshot; None for a plain pickle, which has none.

    Raises CorruptFile and NewerFormat.
    """
    data = file.read(HEADER_SIZE)
    if data[:1] == PLAIN_PICKLE:
        return None
    if not data.startswith(MAGIC) and _is_newer(file, data):
        raise newer(filename)
    if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
        raise damage(filename, 0, "it is not a snapshot of a database")
    return Head(*_HEADER.unpack(data)[1:])


def _is_newer(file: BinaryIO, data: bytes) -> bool:
    """True for a snapshot of a later version, and not one whose version alone is damaged."""
    version = _VERSION.match(data)
    if version is None or int(version[1]) <= VERSION:
        return False
    checksum, _ = _checksum(file)
    checksum = crc32(MAGIC + data[len(MAGIC) : _CHECKED], checksum)
    return data[_CHECKED:HEADER_SIZE] != checksum.to_bytes(4, "little")


def _read_plain(file: BinaryIO, filename: str) -> Snapshot:
    tree = _unpickle(file, filename, 0)
    if not isinstance(tree, dict | list):
        raise damage(filename, 0, f"it is the pickle of a {type(tree).__name__}")
    return Snapshot({"tree": tree}, 0, 0, file.tell(), plain=True)


def _unpickle(file: BinaryIO, filename: str, start: int, folder: FileFolder | None = None) -> Any:
    try:
        return load_state(file, folder)
    except MemoryError as error:  # not damage, of which a repair would make something else
        raise StorageError(f"there is not enough memory to read {filename}") from error
    except Exception as error:  # a pickle can raise whatever its opcodes lead to
        raise damage(filename, start, f"it cannot be unpickled: {error}") from error

"""pyzdb's own types: a large file, a value of a type that is not registered here, and what stands
for a value that is elsewhere.

Snapshots name them `pyzdb.values`, whatever module they are in (storage/snapshot.py).
"""

from __future__ import annotations

from pyzdb.paths import Value


class File:
    """A large file that lies beside the tree.

    ``location`` is a path on the server (str or None), ``filename`` the name it had, and
    ``content`` its bytes where the server cannot see the file (bytes or None).
    """

    __slots__ = ("content", "filename", "location")

    def __init__(
        self,
        location: str | None = None,
        filename: str | None = None,
        content: bytes | None = None,
    ) -> None:
        if (location is None) == (content is None):
            raise TypeError("a File needs either a location or its content")
        if location is None and filename is None:
            raise TypeError("a File with content needs a filename")
        if not isinstance(content, bytes | bytearray | memoryview | None):
            kind = type(content).__name__
            raise TypeError(f"the content of a File must be bytes, not a value of type {kind!r}")
        self.location = None if location is None else str(location)
        name = filename if filename is not None else str(location)
        self.filename = str(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
        self.content = None if content is None else bytes(content)

    def _key(self) -> tuple[str | None, str, bytes | None]:
        return (self.location, self.filename, self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if self.content is not None:
            return f"File(filename={self.filename!r}, content=<{len(self.content)} bytes>)"
        return f"File({self.location!r}, filename={self.filename!r})"

    def __reduce__(self) -> tuple[Value, ...]:
        return (File, (self.location, self.filename, self.content))


class Custom:
    """A value of a type that this process has not registered or could not make: ``name`` (str)
    and ``fields`` (dict), kept as they came, and ``why`` it was not made (str or None)."""

    __slots__ = ("fields", "name", "why")

    def __init__(self, name: str, fields: dict[str, Value], why: str | None = None) -> None:
        self.name = name
        self.fields = fields
        self.why = why

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and self.name == other.name and self.fields == other.fields

    def __hash__(self) -> int:
        return hash((self.name, _frozen(self.fields)))

    def __repr__(self) -> str:
        why = "" if self.why is None else f", why={self.why!r}"
        return f"Custom({self.name!r}, {self.fields!r}{why})"

    def __reduce__(self) -> tuple[Value, ...]:
        return (Custom, (self.name, self.fields))


def _frozen(value: Value) -> Value:
    """A hashable stand-in for a value; equal values have equal ones."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(child)) for key, child in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(child) for child in value)
    return frozenset(value) if isinstance(value, set) else value


class Lazy:
    """Stands for a value that is elsewhere: where one is stored, `_run()` fetches what is
    stored in its place."""

    __slots__ = ()

    def _run(self) -> Value:
        """Fetch the value."""
        raise NotImplementedError

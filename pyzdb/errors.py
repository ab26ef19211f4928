"""What can go wrong, as one tree of exceptions.

    PyzdbError
    ├── EncodingError (TypeError)        a value cannot be carried; nothing was sent
    ├── MessageError                     what the other side sent is not of the protocol
    ├── QueryError                       a command failed on the data; the tree is unchanged
    │   ├── PathKeyError (KeyError)
    │   ├── PathIndexError (IndexError)
    │   ├── PathTypeError (TypeError)
    │   ├── PathValueError (ValueError)
    │   ├── OperationNotAllowed (AttributeError)   the function is not on the allow-list
    │   └── OperationError               any other fault of an operation
    ├── HistoryError                     nothing to undo, or nothing to redo
    ├── ReadOnlyError                    a write was sent to a read-only server
    ├── StaleReplica                     a read-only server cannot read its files any more
    ├── LockError                        the lock is not, or no longer, held
    │   ├── LockTypeError (TypeError)    what is not a number of seconds; nothing was sent
    │   ├── LockValueError (ValueError)  seconds that no lock can have; nothing was sent
    │   └── LockTimeout (TimeoutError)   another client holds the lock
    ├── OutcomeUnknown                   a repeated request that the server has forgotten
    ├── FileRefused                      a File that the server may not take
    ├── ExecRefused                      exec is off
    ├── ExecFailed                       source that the server ran failed
    ├── StorageError
    │   ├── StorageFull                  no room on the disk; nothing changed
    │   ├── SyncFailed                   a write or sync failed; the server ends
    │   │   ├── ChangeFailed             a change failed half-way; the server ends
    │   │   └── FilesReplaced            others removed or replaced a file; the server ends
    │   ├── CorruptFile                  damage, with the file and the offset
    │   ├── NewerFormat                  a file of a newer version of pyzdb
    │   ├── FileInUse                    another server holds the file
    │   └── SnapshotFailed               a save failed; the file before it is whole
    ├── AddressError                     an address cannot be used
    ├── NoSocket                         this process cannot open or use another socket
    ├── ServerTimeout (TimeoutError)     an address did not answer
    └── ConnectionClosed                 a closed connection was used

EncodingError, QueryError, HistoryError, LockTypeError and LockValueError are the caller's
fault; MessageError is the peer's; the rest is the state of the server. An error crosses
the wire under its class name, and a name is looked up in one table, never as an attribute.

Beside its message an error has attributes, which pickling keeps:

    ==================  ===================================================================
    path, command       of EncodingError and QueryError: a tuple of keys, and the number of a
                        command of a batch or None
    uri                 of ServerTimeout, NoSocket and ConnectionClosed: the address
    waited              of ServerTimeout and LockTimeout: seconds
    holder              of LockTimeout: whose lock it is and since when, as text; empty when it
                        is free, and others have asked for it before
    filename, offset    of CorruptFile: offset in bytes
    ==================  ===================================================================

The wire carries the path and the command; the others are empty in an error of a server.
"""

from __future__ import annotations

from pyzdb.paths import Path, Value

__all__ = [
    "AddressError",
    "ChangeFailed",
    "ConnectionClosed",
    "CorruptFile",
    "EncodingError",
    "ExecFailed",
    "ExecRefused",
    "FileInUse",
    "FileRefused",
    "FilesReplaced",
    "HistoryError",
    "LockError",
    "LockTimeout",
    "LockTypeError",
    "LockValueError",
    "MessageError",
    "NewerFormat",
    "NoSocket",
    "OperationError",
    "OperationNotAllowed",
    "OutcomeUnknown",
    "PathIndexError",
    "PathKeyError",
    "PathTypeError",
    "PathValueError",
    "PyzdbError",
    "QueryError",
    "ReadOnlyError",
    "ServerTimeout",
    "SnapshotFailed",
    "StaleReplica",
    "StorageError",
    "StorageFull",
    "SyncFailed",
    "from_wire",
    "to_wire",
]


class PyzdbError(Exception):
    """The root of every error that pyzdb raises of its own."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class _PathError(PyzdbError):
    """An error at one place of the tree: ``path`` is a tuple of keys."""

    def __init__(self, message: str = "", path: Path = (), command: int | None = None) -> None:
        super().__init__(message)
        self.path = tuple(path)
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.args[0], self.path, self.command))


class EncodingError(_PathError, TypeError):
    """A value cannot be carried: ``path`` leads to the bad part; nothing was sent."""


class MessageError(PyzdbError):
    """The other side sent something that is not a message of the protocol."""


class QueryError(_PathError):
    """A command failed on the data at ``path``; ``command`` is its number in a batch."""


class PathKeyError(QueryError, KeyError):
    """The key is not there."""

    __str__ = PyzdbError.__str__


class PathIndexError(QueryError, IndexError):
    """The index is outside the list."""


class PathTypeError(QueryError, TypeError):
    """The operation does not fit the type that is there."""


class PathValueError(QueryError, ValueError):
    """The operation does not fit the value that is there."""


class OperationNotAllowed(QueryError, AttributeError):
    """The function is not on the allow-list for the type that is there."""

    def __init__(self, message: str = "", path: Path = (), command: int | None = None) -> None:
        QueryError.__init__(self, message, path, command)


class OperationError(QueryError):
    """Any other fault of an operation: overflow, division by zero, a result too large."""


class HistoryError(PyzdbError):
    """There is nothing to undo, or nothing to redo."""


class ReadOnlyError(PyzdbError):
    """A write was sent to a read-only server."""


class StaleReplica(PyzdbError):
    """A read-only server has not been able to read its files for so long that what it could
    answer is old."""


class LockError(PyzdbError):
    """The lock is not held by the one who used it, or no longer."""


class LockTypeError(LockError, TypeError):
    """The timeout or the lease of a lock is not a number; nothing was sent."""


class LockValueError(LockError, ValueError):
    """The timeout or the lease of a lock is a number that it cannot be; nothing was sent."""


class LockTimeout(LockError, TimeoutError):
    """Another client, ``holder`` (text), has held the lock for longer than this one would wait:
    it ``waited`` (seconds)."""

    def __init__(self, message: str = "", holder: str = "", waited: float = 0.0) -> None:
        super().__init__(message)
        self.holder = holder
        self.waited = waited


class OutcomeUnknown(PyzdbError):
    """The server has forgotten whether this repeated request was done."""


class FileRefused(PyzdbError):
    """The server may not take this file."""


class ExecRefused(PyzdbError):
    """The server does not run code of its clients."""


class ExecFailed(PyzdbError):
    """Source that the server ran failed, and nothing of it was done; the text is what it printed,
    its traceback included."""


class StorageError(PyzdbError):
    """The root of what can go wrong with the files of a database."""


class StorageFull(StorageError):
    """There is no room for the write; nothing changed, and it works again when there is."""


class SyncFailed(StorageError):
    """A write or sync to the disk failed: what is durable is unknown, so the server ends."""


class FilesReplaced(SyncFailed):
    """A file of the database was removed or replaced under its server, which writes nothing over
    what lies there now and ends."""


class ChangeFailed(SyncFailed):
    """A change failed half-way and could not be taken back, so the server ends, and starts again
    with all that was acknowledged."""


class CorruptFile(StorageError):
    """A file is damaged at ``offset`` (bytes)."""

    def __init__(self, message: str = "", filename: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.filename = filename
        self.offset = offset


class NewerFormat(StorageError):
    """A file was written by a newer version of pyzdb than this one: it is left as it is."""


class FileInUse(StorageError):
    """Another server holds the database file."""


class SnapshotFailed(StorageError):
    """A save failed; the saved file before it and the journal are whole."""


class AddressError(PyzdbError):
    """What was given is not an address, or cannot be listened on."""


class _AddressedError(PyzdbError):
    """An error about one address: ``uri``, empty where there is none."""

    def __init__(self, message: str = "", uri: str = "") -> None:
        super().__init__(message)
        self.uri = uri


class NoSocket(_AddressedError):
    """This process cannot open another socket for ``uri``, or one failed; it works again when
    there is room."""


class ServerTimeout(_AddressedError, TimeoutError):
    """The address ``uri`` did not answer within the timeout: it was silent for ``waited``
    seconds."""

    def __init__(self, message: str = "", uri: str = "", waited: float = 0.0) -> None:
        super().__init__(message, uri)
        self.waited = waited


class ConnectionClosed(_AddressedError):
    """The connection to ``uri`` was used after it was closed."""


def _tree(root: type[PyzdbError]) -> dict[str, type[PyzdbError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


_BY_NAME = {name: kind for name, kind in _tree(PyzdbError).items() if name in __all__}


def to_wire(error: BaseException) -> dict[str, Value]:
    """Turn an error into ``{"type", "message", "path", "command"}``; an unknown class travels
    as OperationError. The path is a list of keys, still to be encoded."""
    name = type(error).__name__
    if _BY_NAME.get(name) is not type(error):
        return {
            "type": "OperationError",
            "message": f"{name}: {error}",
            "path": [],
            "command": None,
        }
    return {
        "type": name,
        "message": str(error),
        "path": list(getattr(error, "path", ())),
        "command": getattr(error, "command", None),
    }


def from_wire(wire: dict[str, Value]) -> PyzdbError:
    """Make the error again that ``to_wire`` described; an unknown name gives OperationError."""
    kind = _BY_NAME.get(str(wire.get("type")), OperationError)
    message = str(wire.get("message", ""))
    if not issubclass(kind, _PathError):
        return kind(message)
    path, command = wire.get("path"), wire.get("command")
    return kind(
        message,
        tuple(path) if isinstance(path, list) else (),
        command if isinstance(command, int) else None,
    )

"""What keeps the records and snapshots of a database, as the engine sees it.

One store keeps them in files (file_store.py), one in memory (memory.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from pyzdb.storage.parts import Record
from pyzdb.storage.snapshot import State


class Recovered(NamedTuple):
    """What was found: ``state`` of the snapshot (None for a new database), the ``sequence`` of
    the last record that is in it, the ``records`` after it, and ``notes``, a line each for the
    operator."""

    state: State | None
    sequence: int
    records: Iterator[Record]
    notes: list[str]


class Store(Protocol):
    """What the engine needs of a store. Sizes are in bytes."""

    @property
    def sequence(self) -> int:
        """Sequence of the last record that was appended."""
        ...

    @property
    def journal_size(self) -> int:
        """Bytes of the records since the last snapshot."""
        ...

    @property
    def snapshot_size(self) -> int:
        """Bytes of the last snapshot; 0 when there is none."""
        ...

    @property
    def snapshot_is_missing(self) -> bool:
        """True when the last snapshot is not there any more."""
        ...

    @property
    def save_fd(self) -> int | None:
        """A descriptor that becomes readable when the running save has ended; None without one."""

    def take(self) -> Recovered:
        """Take hold of the database and read it. Raises CorruptFile, FileInUse, StorageError."""
        ...

    def begin(self) -> list[str]:
        """Make what was taken ready to be written, and return more notes. Raises StorageError."""
        ...

    def reserve(self, size: int, spare: bool = False) -> None:
        """Make room for a record with a body of ``size`` bytes, with ``spare`` also from what is
        kept for commands that make room. Raises StorageFull."""

    def append(self, body: bytes) -> int:
        """Add a record to what `flush` writes, and return its sequence."""
        ...

    def fail(self, reason: str) -> None:
        """Take nothing more, and give up what was appended and not flushed."""

    def flush(self) -> None:
        """Make what was appended durable, as the policy says. Raises SyncFailed."""

    def tick(self) -> float | None:
        """Sync what is due; return the seconds until the next sync is due. Raises SyncFailed."""

    def save(self, state: Callable[[], State]) -> None:
        """Return when a snapshot of the state is durable; a running save is ended for it.

        Raises SnapshotFailed; the snapshot before it and the journal are whole.
        """

    def start_save(self, state: Callable[[], State]) -> None:
        """Begin to save the state as it is now, in the background. Raises SnapshotFailed."""

    def cancel_save(self) -> None:
        """Have the running save end without a result; `finish_save` comes next."""

    def poll_save(self, now: float) -> bool:
        """True when the running save is to be finished though its descriptor does not say so; to
        be asked from time to time. ``now``: seconds of a monotonic clock."""
        ...

    def finish_save(self) -> str | None:
        """Wait for the running save to end; None when it is durable, otherwise why it is not."""

    def close(self) -> None:
        """End a running save and the journal, and let others have the database."""

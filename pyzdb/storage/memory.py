"""A store without files, which keeps all in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO

from pyzdb.errors import SnapshotFailed
from pyzdb.storage.snapshot import State, dump_state, load_state
from pyzdb.storage.store import Recovered


class MemoryStore:
    """A store in memory: what was flushed is there when it is opened again."""

    snapshot_is_missing = False

    def __init__(self) -> None:
        self._flushed: list[bytes] = []
        self._buffer: list[bytes] = []
        self._saved: bytes | None = None
        self._start = 0
        self.journal_size = 0
        self.save_fd: int | None = None

    @property
    def sequence(self) -> int:
        return self._start + len(self._flushed) + len(self._buffer)

    @property
    def snapshot_size(self) -> int:
        return 0 if self._saved is None else len(self._saved)

    def open(self) -> Recovered:
        """`take` and `begin`."""
        return self.take()

    def take(self) -> Recovered:
        self._buffer.clear()
        self.journal_size = sum(map(len, self._flushed))
        state = None if self._saved is None else load_state(BytesIO(self._saved))
        records = iter(list(enumerate(self._flushed, self._start + 1)))
        return Recovered(state, self._start, records, [])

    def begin(self) -> list[str]:
        return []

    def reserve(self, size: int, spare: bool = False) -> None:
        pass

    def append(self, body: bytes) -> int:
        self._buffer.append(body)
        self.journal_size += len(body)
        return self.sequence

    def fail(self, reason: str) -> None:
        self._buffer.clear()

    def flush(self) -> None:
        self._flushed += self._buffer
        self._buffer.clear()

    def tick(self) -> float | None:
        return None

    def save(self, state: Callable[[], State]) -> None:
        self.flush()
        file = BytesIO()
        try:
            dump_state(state(), file)
        except Exception as error:  # as in a file
            raise SnapshotFailed(f"the tree was not saved: {error}") from error
        self._start = self.sequence
        self._flushed.clear()
        self.journal_size = 0
        self._saved = file.getvalue()

    def start_save(self, state: Callable[[], State]) -> None:
        self.save(state)
        self.save_fd, other = os.pipe()
        os.close(other)

    def cancel_save(self) -> None:
        pass

    def poll_save(self, now: float) -> bool:
        return False

    def finish_save(self) -> str | None:
        if self.save_fd is None:
            return "no save is running"
        os.close(self.save_fd)
        self.save_fd = None
        return None

    def close(self) -> None:
        self.flush()
        if self.save_fd is not None:
            self.finish_save()

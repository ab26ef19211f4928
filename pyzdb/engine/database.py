"""A database in a store: from its start to its end, with its saves.

Rules this module keeps:

- `take` reads and changes nothing, `begin` makes ready to write; in between, a start that fails
  for another reason leaves everything as it was.
- What is due without a message is done by `tick`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pyzdb.engine.commits import Commit, JournalLog
from pyzdb.engine.core import Core
from pyzdb.engine.filing import Filing
from pyzdb.engine.history import HISTORY_LIMIT, MAX_BYTES
from pyzdb.engine.interpreter import Interpreter
from pyzdb.engine.locking import new_token
from pyzdb.engine.saves import SaveScheduler
from pyzdb.engine.tree import SETTLED
from pyzdb.protocol.requests import Configure, Envelope, encode_request
from pyzdb.storage.files import Files
from pyzdb.storage.store import Store

SNAPSHOT_BYTES = 32 * 1024 * 1024
"""Bytes of journal from which on the server saves by itself: some 170,000 small changes, which
a start reads again in about a second."""


class Database(Core):
    """A database whose commits a ``store`` keeps; ``files`` takes Files in, ``clock`` and
    ``monotonic`` give seconds, ``new_token`` a lock's token."""

    def __init__(
        self,
        store: Store,
        *,
        history_limit: int = HISTORY_LIMIT,
        history_bytes: int = MAX_BYTES,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        files: Files | None = None,
        exec: bool = False,
        lock_uri: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        new_token: Callable[[], int] = new_token,
    ) -> None:
        self._store = store
        self._history_limit = history_limit
        self._scheduler = SaveScheduler(store, self.state, snapshot_bytes)
        filing = Filing(files, None if files is None else files.folder)
        super().__init__(
            JournalLog(store, clock),
            filing,
            history_bytes=history_bytes,
            interpreter=Interpreter(filing.refuse_new) if exec else None,
            saves=self._scheduler,
            lock_uri=lock_uri,
            monotonic=monotonic,
            new_token=new_token,
        )
        self._clock = clock

    # --- start and end ---------------------------------------------------------------------

    def open(self) -> list[str]:
        """`take` and `begin` with all that they raise; the store is closed again then."""
        notes = self.take()
        try:
            return notes + self.begin()
        except BaseException:
            self._store.close()
            raise

    def take(self) -> list[str]:
        """Read what the store holds, and change nothing of it; return a line for each thing the
        operator should know. Then comes `begin`, or `close`.

        Raises CorruptFile, FileInUse and StorageError; the store is closed again.
        """
        recovered = self._store.take()
        try:
            self.load(recovered.state, recovered.sequence)
            for sequence, body in recovered.records:
                self.replay(sequence, body)
            self.lock.resume(self._monotonic(), self._clock())
        except BaseException:
            self._store.close()
            raise
        return recovered.notes

    def begin(self) -> list[str]:
        """Make what was taken ready to be written, and return more lines. Raises StorageError."""
        notes = self._store.begin()
        self._filing.begin()
        if self.history.limit != self._history_limit:
            limit = Configure(version=2, args=(self._history_limit,))
            self._handlers[Configure](Envelope(limit, encode_request(limit)))
            self._commits.settle()
        self.flush()
        return notes

    def close(self) -> None:
        """Make everything durable and let go of the files, also when that fails."""
        try:
            if self.tree.state is SETTLED:
                self.flush()
        finally:
            self._store.close()

    # --- from time to time -----------------------------------------------------------------

    def flush(self) -> list[Commit]:
        durable = self._commits.flush()
        if durable:
            self._filing.commit()
            self._scheduler.replace_missing(self._monotonic())
        return durable

    def tick(self) -> float | None:
        """Do what is due without a message, and return the seconds until it is to be called
        again (None: any)."""
        now = self._monotonic()
        self._locking.tick(now)
        self._scheduler.tick(now)
        wait = self._store.tick()
        self._scheduler.replace_missing(now)
        return wait

    def save(self) -> None:
        """Save in this process, as at the end of a server; a save that runs is ended for it.

        Raises SnapshotFailed.
        """
        self._scheduler.save()

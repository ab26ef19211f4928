"""Saves that run beside the service, and who waits for which.

A request for a save needs one that begins after it came. It gets a ticket, the number of that
save, and comes back with it until the save has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pyzdb.errors import SnapshotFailed
from pyzdb.storage.snapshot import State
from pyzdb.storage.store import Store

RETRY = 5.0
"""Seconds after which a save that failed is tried again while the saved file is gone."""

logger = logging.getLogger(__name__)


class SaveScheduler:
    """The saves of one database, numbered 1, 2, 3... from the start of the process."""

    def __init__(self, store: Store, state: Callable[[], State], snapshot_bytes: int) -> None:
        self._store = store
        self._state = state
        self._snapshot_bytes = snapshot_bytes
        self._due = snapshot_bytes
        self._retry_from = 0.0
        self._started = 0
        self._ended = 0
        self._durable = 0
        self._sequence = 0
        self._failure: str | None = None

    def tick(self, now: float) -> None:
        """Begin a save when the journal has grown enough, and end one that hangs. ``now``: seconds
        of a monotonic clock."""
        store = self._store
        if self.running:
            if store.poll_save(now):
                self.finish()
        elif store.journal_size > self._due and store.journal_size > store.snapshot_size:
            try:
                self.start()
            except SnapshotFailed as error:
                self._postpone(str(error))

    def save(self) -> None:
        """Save in this process; a save that runs is ended for it. Raises SnapshotFailed."""
        if self.running:
            self._store.cancel_save()
            self._take_note()
        self._store.save(self._state)
        self._durable, self._due = self._ended, self._snapshot_bytes

    def replace_missing(self, now: float) -> None:
        """Save in this process when the saved file is gone: until that has ended, a crash would
        leave a journal that continues nothing. ``now``: as `tick` takes it."""
        if self._store.snapshot_is_missing and now >= self._retry_from:
            try:
                self.save()
            except SnapshotFailed as error:
                self._retry_from = now + RETRY
                self._postpone(str(error))

    @property
    def fd(self) -> int | None:
        """Readable when the running save has ended; None without one."""
        return self._store.save_fd

    @property
    def running(self) -> bool:
        """True while a save is under way."""
        return self._started > self._ended

    def ticket(self, given: int = 0) -> int:
        """The number of a save that will hold all that was written so far; the one that was
        ``given`` before, unless it is from before a restart of the server."""
        if 0 < given <= self._started + 1:
            return given
        if self.running and self._sequence == self._store.sequence:
            return self._started
        return self._started + 1

    def has_ended(self, ticket: int) -> bool:
        """True when the save of a ticket is durable; otherwise it is under way, or will be when
        this is asked again. Raises SnapshotFailed when it failed."""
        if self._durable >= ticket:
            return True
        if self._ended >= ticket:
            raise SnapshotFailed(self._failure)
        if not self.running:
            self.start()
        return False

    def start(self) -> None:
        """Begin a save. Raises SnapshotFailed."""
        self._store.start_save(self._state)
        logger.info("a save begins in the background")
        self._started += 1
        self._sequence = self._store.sequence

    def finish(self) -> None:
        """Wait for the running save, and take note of how it ended."""
        failure = self._take_note()
        if failure is None:
            logger.info("saved in the background")
            self._due = self._snapshot_bytes
        else:
            self._postpone(failure)

    def _take_note(self) -> str | None:
        self._failure = self._store.finish_save()
        self._ended = self._started
        if self._failure is None:
            self._durable = self._ended
        return self._failure

    def _postpone(self, failure: str) -> None:
        logger.error("%s; the journal goes on", failure)
        self._due = self._store.journal_size + self._snapshot_bytes

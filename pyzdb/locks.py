"""The lock of the whole tree: who holds it, and until when.

Rules this module keeps:

- A lock has a lease, which each use renews; when it ends, the lock is free. The clock is
  monotonic, so nobody's change of the date frees or keeps it.
- Its fencing token is the sequence number of the record that gave it, so a later lock always has
  a larger one. A message with a token that is not, or no longer, that of the lock is refused.
- Clients of version 1 know no token: they are told by the socket that they were sent to.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pyzdb.errors import LockError

DEFAULT_LEASE = 30.0
"""Seconds that a lock stays without use: longer than any query, shorter than patience."""

MAX_LEASE = 86_400.0
"""Seconds of the longest lease, a day: a forgotten lock must end some time."""


class Held(NamedTuple):
    """A lock as a snapshot keeps it."""

    token: int
    lease: float
    version: int


class Lock:
    """The lock of one database; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.held: Held | None = None
        self._ends = 0.0

    def take(self, held: Held, now: float) -> None:
        """Give the lock to somebody, with a full lease."""
        self.held = held
        self._ends = now + held.lease

    def free(self) -> None:
        """Take the lock back."""
        self.held = None

    def has_ended(self, now: float) -> bool:
        """True when there is a lock whose lease has ended."""
        return self.held is not None and now >= self._ends

    def admits(self, token: int | None, on_lock_socket: bool, now: float) -> bool:
        """True for a message that may be served now, False for one that has to wait.

        Raises LockError for one that comes too late: from a holder whose lock has ended.
        """
        held = self.held
        if held is not None and (
            token == held.token or (token is None and on_lock_socket and held.version == 1)
        ):
            self._ends = now + held.lease
            return True
        if token is not None or on_lock_socket:
            raise LockError(
                "the lock is lost: its lease ended, and what comes from its holder is refused"
            )
        return held is None


def lease_of(asked: float | None) -> float:
    """The lease in seconds that a client gets. Raises LockError for one that is none."""
    if asked is None:
        return DEFAULT_LEASE
    if not math.isfinite(asked) or not 0 < asked <= MAX_LEASE:
        raise LockError(f"a lease is more than 0 and at most {MAX_LEASE:,.0f} seconds, not {asked}")
    return asked

"""The lease of the lock: how long it may stay unused. Client and server check it alike."""

from __future__ import annotations

import math

from pyzdb.errors import LockError

DEFAULT_LEASE = 30.0
"""Seconds that a lock stays without use: longer than any query, shorter than patience."""

MAX_LEASE = 86_400.0
"""Seconds of the longest lease, a day: a forgotten lock must end some time."""


def lease_of(asked: float | None) -> float:
    """The lease in seconds that a client gets. Raises LockError for one that is none."""
    if asked is None:
        return DEFAULT_LEASE
    if not math.isfinite(asked) or not 0 < asked <= MAX_LEASE:
        raise LockError(f"a lease is more than 0 and at most {MAX_LEASE:,.0f} seconds, not {asked}")
    return asked

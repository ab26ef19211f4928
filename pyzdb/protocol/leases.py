"""The seconds of a lock: its lease, and how long to wait for it.

Client and server check a lease alike. The lease is how long the lock may stay unused.
"""

from __future__ import annotations

import math

from pyzdb.errors import LockTypeError, LockValueError

DEFAULT_LEASE = 30.0
"""Seconds that a lock stays without use: longer than any query, shorter than patience."""

MAX_LEASE = 86_400.0
"""Seconds of the longest lease, a day: a forgotten lock must end some time."""


def lease_of(asked: float | None) -> float:
    """The lease in seconds that a client gets. Raises LockTypeError and LockValueError."""
    if asked is None:
        return DEFAULT_LEASE
    _check_number("lease", asked)
    if not math.isfinite(asked) or not 0 < asked <= MAX_LEASE:
        raise LockValueError(
            f"a lease is more than 0 and at most {MAX_LEASE:,.0f} seconds, not {asked}"
        )
    return asked


def patience_of(timeout: float | None) -> float | None:
    """The seconds to wait for the lock; None: as long as for anything else. Raises LockTypeError
    and LockValueError."""
    if timeout is not None:
        _check_number("timeout", timeout)
        if not timeout >= 0:
            raise LockValueError(f"a timeout must be 0 seconds or more, not {timeout}")
    return timeout


def _check_number(what: str, seconds: float) -> None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        kind = type(seconds).__name__
        raise LockTypeError(f"a {what} must be a number of seconds, not a value of type {kind!r}")

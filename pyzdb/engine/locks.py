"""The lock of the whole tree: who holds it, until when, and who is next.

Rules this module keeps:

- A lock has a lease, which each use renews; when it ends, the lock is free. The clock is
  monotonic, so nobody's change of the date frees or keeps it.
- Its fencing token is a random number that nobody can guess, chosen when the lock is given and kept
  in its record. Tokens are compared, never ordered: a message with a token that is not, or no
  longer, that of the lock is refused.
- Over a restart a lease goes on with what was left of it, by the date of the last record that
  shows the lock in use. Of a holder that only reads a record is made from time to time.
- The lock goes to those who ask for it in the order of asking. Whoever asks for anything else is
  served when it is free, and nobody who asks later gets the lock before that. A client that
  does not come back loses its place.
- Clients of version 1 know no token: they are told by the socket that they were sent to.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pyzdb.engine.lock_line import FIRST_RETURN, Line
from pyzdb.errors import LockError
from pyzdb.protocol.replies import Waiting
from pyzdb.protocol.requests import MODES, GiveLockBack, Request, TakeLock

HELD_SHARE = 0.1
"""The part of the time that the lock has been held after which the next in line comes back: so
little more does a turn take."""

NAME_SHOWN = 200
"""Characters of the id of a client that others are shown."""

_LOST = "the lock is lost: its lease ended, and what comes from its holder is refused"

_NOT_FOR_ALL = (
    "this address serves only the client that holds the lock: connect to the address for reading "
    "and writing"
)

_OF_OTHERS = frozenset({"unlock", "configure"})
"""What a record may be under a lock without showing that it is used."""


class LockGrant(NamedTuple):
    """A lock that is given: ``client`` has it ``since`` then, in seconds since the epoch."""

    token: int
    lease: float
    version: int
    client: str = ""
    since: float = 0.0

    def __str__(self) -> str:
        """Whose it is, for others: without its token."""
        name = repr(self.client[:NAME_SHOWN])[1:-1] or "a client of version 1"
        return f"{name} since {datetime.fromtimestamp(self.since, UTC):%Y-%m-%d %H:%M:%S} UTC"


class Lock:
    """The lock of one database. Times are seconds of a monotonic clock, but those that are called
    a date, which are seconds since the epoch.

    ``ended`` is a lock whose lease has ended, until the journal tells that it has.
    """

    def __init__(self) -> None:
        self.held: LockGrant | None = None
        self.ended: LockGrant | None = None
        self.line = Line()
        self._taken = 0.0
        self._ends = 0.0
        self._ends_in_journal = 0.0
        self._used = 0.0  # the date of the last record that shows it in use

    def grant(self, held: LockGrant, now: float) -> None:
        """Give the lock to somebody, with a full lease."""
        self.held = held
        self._taken = now
        self._ends = self._ends_in_journal = now + held.lease
        self._used = held.since

    def release(self) -> None:
        """Take the lock back."""
        self.held = None

    def end(self) -> None:
        """Take the lock back from a holder that has not used it for its lease."""
        self.ended, self.held = self.held, None

    def has_ended(self, now: float) -> bool:
        """True when there is a lock whose lease has ended."""
        return self.held is not None and now >= self._ends

    def admits(self, request: Request, on_lock_socket: bool, now: float) -> bool:
        """True for a message that may be served now, False for one that has to wait.

        Raises LockError for one that comes too late: from a holder whose lock has ended.
        """
        held, token = self.held, request.token
        if held is not None and (
            token == held.token or (token is None and on_lock_socket and held.version == 1)
        ):
            self._ends = now + held.lease
            return True
        if token is not None or on_lock_socket:
            is_stranger = token is None and request.version != 1
            raise LockError(_NOT_FOR_ALL if is_stranger else _LOST)
        who = _who(request)
        if gives_up(request) or (
            held is None and (type(request) is not TakeLock or self.line.is_first(who, now))
        ):
            self.line.leave(who)
            return True
        return not MODES[request.mode].waits

    def wait(self, request: Request, now: float) -> Waiting:
        """What a client that has to wait is told; it has a place in the line from now on."""
        held = self.held
        pace = FIRST_RETURN if held is None else max(FIRST_RETURN, (now - self._taken) * HELD_SHARE)
        return Waiting(self.line.wait(_who(request), now, pace), "" if held is None else str(held))

    # --- over a restart --------------------------------------------------------------------

    def note(self, request: Request, date: float) -> None:
        """Take note of a record that is made while there is a lock."""
        held = self.held
        if held is not None and (
            request.token == held.token or (held.version == 1 and request.mode not in _OF_OTHERS)
        ):
            self._used = date
            self._ends_in_journal = self._ends

    @property
    def wants_record(self) -> bool:
        """True when the journal should be told that the lock is used."""
        held = self.held
        return held is not None and self._ends - self._ends_in_journal > held.lease / 2

    def state(self) -> tuple[Any, ...] | None:
        """What a snapshot keeps, as builtins: also the date from which on the lease counts."""
        held = self.held or self.ended
        return None if held is None else (*held, self._used)

    def restore(self, state: tuple[Any, ...] | None, now: float) -> None:
        """Take the place of what ``state`` described."""
        if state is None:
            return
        token, lease, version, *more = state
        if not more:  # earlier versions kept no more, and a restart gave a full lease
            self.grant(LockGrant(token, lease, version), now)
            self._used = math.inf
            return
        client, since, used = more
        self.grant(LockGrant(token, lease, version, client, since), now)
        self._used = used

    def resume(self, now: float, date: float) -> None:
        """Go on after all records with what is left of the lease, all of it if the clock was set
        back meanwhile."""
        held = self.held
        if held is not None:
            self._used = min(self._used, date)
            unused = min(date - self._used, held.lease)
            self._ends = self._ends_in_journal = now + held.lease - unused


def gives_up(request: Request) -> bool:
    """True for a message of a client that gives back what it may have been granted, and asks for
    the lock no more: it names itself and not a token, which it has not heard of."""
    names_itself = bool(request.client) and request.number > 0
    return type(request) is GiveLockBack and request.token is None and names_itself


def _who(request: Request) -> object:
    """Whose place in the line it is: a client of version 1 waits with one and the same message.
    None for a client that has not said its name yet."""
    return request.client or (id(request) if request.version == 1 else None)

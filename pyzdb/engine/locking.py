"""The requests for the lock, and who has to wait for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from msgspec.structs import replace

from pyzdb.engine.commits import Commits
from pyzdb.engine.history import Step
from pyzdb.engine.locks import Lock, LockGrant, gives_up
from pyzdb.errors import LockError, LockValueError
from pyzdb.protocol.leases import lease_of
from pyzdb.protocol.replies import Reply
from pyzdb.protocol.requests import Envelope, TakeLock, encode_request

TOKEN_BYTES = 8
"""Bytes of a token, of which one bit is dropped: every parser takes it, and nobody guesses it."""

logger = logging.getLogger(__name__)


class Locking:
    """What requests do to the ``lock`` of one database. ``uri`` is where its holder is served,
    ``monotonic`` gives seconds, ``new_token`` a fencing token."""

    def __init__(
        self,
        lock: Lock,
        commits: Commits,
        uri: str,
        monotonic: Callable[[], float],
        new_token: Callable[[], int],
    ) -> None:
        self._lock = lock
        self._commits = commits
        self._uri = uri
        self._monotonic = monotonic
        self._new_token = new_token

    def admits(self, envelope: Envelope) -> bool:
        """True for a message that may be served now. Raises LockError for one of a holder whose
        lock has ended."""
        now = self._monotonic()
        self._end_if_due(now)
        return self._lock.admits(envelope.request, envelope.on_lock_socket, now)

    def wait(self, envelope: Envelope) -> Reply:
        """The answer to a message that has to wait."""
        return Reply(wait="locked", lock=self._lock.wait(envelope.request, self._monotonic()))

    def tick(self, now: float) -> None:
        """End a lease that is over, and have the journal know of a lock that is used."""
        if not self._end_if_due(now) and self._lock.wants_record:
            self._commits.note_use_of_lock()

    def _end_if_due(self, now: float) -> bool:
        is_due = self._lock.has_ended(now)
        if is_due:
            logger.info("the lease of the lock ended: %s had it", self._lock.held)
            self._lock.end()
        return is_due

    # --- requests --------------------------------------------------------------------------

    def take(self, envelope: Envelope) -> bytes:
        """Give the lock to the client that asks for it."""
        commits = self._commits
        request = envelope.request
        if commits.is_live:
            request = replace(request, token=request.token or self._new_token())
            envelope = Envelope(request, encode_request(request))
        commits.reserve(envelope.message)
        if self._lock.held is not None:
            raise LockError("this client holds the lock already")
        token = request.token or commits.sequence + 1  # earlier versions took the number for it
        lease = _lease_of(request)
        held = LockGrant(token, lease, request.version, request.client, commits.now)
        value = {"locked": True, "uri": self._uri}
        if request.version != 1:
            value |= {"token": held.token, "lease": held.lease}
        answer = commits.answer_to(request, Reply(value))
        if commits.is_live:
            logger.info("%r has the lock, with a lease of %s s", held.client, held.lease)
        step = Step("lock", (), commits.now, request.client, [])
        return commits.commit(envelope, answer, step, self._lock.grant, held, self._monotonic())

    def give_back(self, envelope: Envelope) -> bytes:
        """Take the lock back from the client that has it, or may have been granted it."""
        commits = self._commits
        request = envelope.request
        commits.reserve(envelope.message, spare=True)
        held = self._lock.held
        if held is None and not gives_up(request):
            raise LockError("this client does not hold the lock")
        answer = commits.answer_to(request, Reply({"locked": False}))
        # A record of it even if there is nothing to release: what this client asked for before and
        # arrives late has an older number then, and is refused.
        is_its_own = held is not None and (not gives_up(request) or held.client == request.client)
        if held is not None and is_its_own and commits.is_live:
            logger.info("%r gave the lock back", held.client)
        step = Step("unlock", (), commits.now, request.client, [])
        release = self._lock.release if is_its_own else None
        return commits.commit(envelope, answer, step, release)

    def renew(self, envelope: Envelope) -> bytes:
        """Take note that the lock was used, as every commit does."""
        commits = self._commits
        commits.reserve(envelope.message)
        return commits.commit(envelope, b"", Step("renew", (), commits.now, "", []))


def _lease_of(request: TakeLock) -> float:
    """The lease that a request gets. Raises LockError for one that no lock can have."""
    try:
        return lease_of(request.lease)
    except LockValueError as error:
        # The name that the wire has for it: the finer one would be unknown to clients of 0.1.0.
        raise LockError(str(error)) from None


def new_token() -> int:
    """A fencing token."""
    return int.from_bytes(os.urandom(TOKEN_BYTES)) >> 1

"""The one way in which a change lasts: a commit.

Rules this module keeps:

- What can be refused is refused before the change: `reserve` makes its record, and room for that,
  `answer_to` its answer. `commit` then only does what takes no memory and cannot be refused.
- When something is raised and the tree is not settled, nobody can tell what it is: nothing more
  is answered or written, and the server ends. The next start has what was acknowledged.
- A record is the time it was made (seconds since the epoch, as a little-endian double) and the
  message itself, in which all that could come out differently another time is resolved. Replaying
  it is the same code as handling it, over a log that only hands out its number and its time.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from pyzdb.engine.client_table import ClientTable
from pyzdb.engine.history import Step
from pyzdb.engine.locks import Lock, LockGrant
from pyzdb.engine.tree import CHANGED, EDITING, SETTLED, Tree
from pyzdb.errors import ChangeFailed, OperationError, ReadOnlyError, StorageFull, SyncFailed
from pyzdb.protocol.replies import Reply, encode_reply, encode_value
from pyzdb.protocol.requests import Envelope, GiveLockBack, Renew, Request, encode_request
from pyzdb.storage.store import Store

STAMP = struct.Struct("<d")

BROKEN = "a change failed half-way: the server ends, and starts with all that was acknowledged"


class Commit(msgspec.Struct, frozen=True, gc=False):
    """What lasts: ``sequence`` is its number in the journal, ``record`` the bytes that the journal
    has of it, which do it again elsewhere (`Core.replay`), and ``step`` who did what, when and
    where, with the paths of all changes that this came to, in order. The values in these are the
    tree's own, as they are by now: no copy of them is made for nobody.
    """

    sequence: int
    record: bytes
    step: Step


class Log(Protocol):
    """Where commits get their numbers and times from. ``is_live`` is False for what was done
    before and is done again; ``record`` is the one that was begun last."""

    is_live: bool
    record: bytes

    def begin(self, message: bytes, spare: bool) -> float:
        """Make the record of a message, and room for it, and return its time. Raises
        ReadOnlyError and StorageFull."""
        ...

    def append(self) -> int:
        """Add that record, and return its number."""
        ...

    def flush(self) -> None:
        """Make all records durable. Raises SyncFailed."""

    def fail(self, reason: str) -> None:
        """Take nothing more, and give up what is not durable."""


class JournalLog:
    """Commits that are made now, in a store; ``clock`` gives seconds since the epoch."""

    is_live = True

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self.record = b""
        self.flush = store.flush
        self.fail = store.fail

    def begin(self, message: bytes, spare: bool) -> float:
        now = self._clock()
        self.record = STAMP.pack(now) + message
        self._store.reserve(len(self.record), spare)
        return now

    def append(self) -> int:
        return self._store.append(self.record)


class ReadOnlyLog:
    """Of a database that another server writes: there are no commits of its own."""

    is_live = True
    record = b""

    def begin(self, message: bytes, spare: bool) -> float:
        raise ReadOnlyError("this server only reads: write to the one that keeps the database")

    def append(self) -> int:
        raise ReadOnlyError("this server only reads")

    def flush(self) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


class _Replay:
    """The record that is done again: ``sequence`` and ``when`` are its own."""

    is_live = False
    record = b""
    sequence = 0
    when = 0.0

    def begin(self, message: bytes, spare: bool) -> float:
        return self.when

    def append(self) -> int:
        return self.sequence

    def flush(self) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


class Commits:
    """The commits of one database, for what it holds: ``tree``, ``lock`` and ``clients``.

    ``sequence`` is the number of the last one, ``now`` the time of the one under way (seconds since
    the epoch).
    """

    def __init__(
        self, log: Log, tree: Tree, lock: Lock, clients: ClientTable, sequence: int
    ) -> None:
        self._log = log
        self._tree = tree
        self._lock = lock
        self._clients = clients
        self.sequence = sequence
        self.now = 0.0
        self._replay = _Replay()  # one for all records, of which a start does millions
        self._pending: list[Commit] = []

    @property
    def is_live(self) -> bool:
        """False while a record is done again."""
        return self._log.is_live

    def replay(self, sequence: int, body: bytes, do: Callable[[bytes], object]) -> None:
        """Have ``do`` do again what a record says; it is given the message."""
        log, self._log = self._log, self._replay
        try:
            self._replay.sequence = sequence
            (self._replay.when,) = STAMP.unpack_from(body)
            do(body[STAMP.size :])
            self._tree.state = SETTLED
            self.sequence = sequence  # of a record that came to nothing, too
        finally:
            self._log = log

    def reserve(self, message: bytes, spare: bool = False) -> None:
        """Make the record of a message, and room for it, before anything changes; with ``spare``
        also where the disk is full, as it makes room itself or lets others go on.

        Raises ReadOnlyError and StorageFull.
        """
        if self._lock.ended is not None:
            # The journal must know that the lock is free before anyone else writes.
            self._end_lock(self._lock.ended)
        self.now = self._log.begin(message, spare)

    def answer_to(self, request: Request, reply: Reply) -> bytes:
        """The answer to a change, which is made before the change is kept. Raises EncodingError
        and OperationError when there can be none."""
        sequence = self.sequence + 1
        if self._log.is_live:
            return encode_value(reply, request.version, sequence)
        # Earlier versions kept a change that had an answer which cannot be sent.
        return encode_reply(reply, request.version, sequence) if request.number else b""

    def commit(
        self,
        envelope: Envelope,
        answer: bytes,
        step: Step,
        finish: Callable[..., None] | None = None,
        *args: Any,
    ) -> bytes:
        """Keep a change for which there are room and an answer; ``finish`` does the rest of it.

        All that takes memory is done by now: what fails here ends the server. The tree is CHANGED
        until the caller of it all has the answer, and calls `settle`.
        """
        tree = self._tree
        if tree.state is EDITING:  # source that the server runs may have caught what says so
            raise OperationError("a change was interrupted")
        tree.state = CHANGED
        log = self._log
        self.sequence = sequence = log.append()
        if log.is_live:  # others were handed out when they were new
            self._pending.append(Commit(sequence, log.record, step))
        request = envelope.request
        if self._lock.held is not None:
            self._lock.note(request, self.now)
        if finish is not None:
            finish(*args)
        if request.number:
            self._clients.remember(request.client, request.number, answer, sequence)
        return answer

    def settle(self) -> None:
        """The answer of a commit is there: nobody can take it for an error any more."""
        self._tree.state = SETTLED

    def flush(self) -> list[Commit]:
        """Make all commits durable, and return those that have become so. Raises SyncFailed and
        ChangeFailed: then nobody may be answered."""
        if not self._pending:
            return []
        try:
            self._log.flush()
        except BaseException as error:
            self._tree.state = EDITING  # it shows what may not be durable
            if isinstance(error, SyncFailed):
                raise
            self.end_unless_settled(error)
        durable, self._pending = self._pending, []
        return durable

    def end_unless_settled(self, error: BaseException) -> None:
        """Raise ChangeFailed when an error came between a change and the end of its commit."""
        if self._tree.state is SETTLED:
            return
        self._log.fail(BROKEN)
        raise ChangeFailed(f"{BROKEN} ({type(error).__name__}: {error})") from error

    # --- commits of the server's own -------------------------------------------------------

    def note_use_of_lock(self) -> None:
        """Have a restart know that a lock is used whose holder only reads."""
        assert self._lock.held is not None
        with contextlib.suppress(StorageFull):  # it is only a restart that would end it too soon
            self._record(Renew(version=2, token=self._lock.held.token))

    def _end_lock(self, ended: LockGrant) -> None:
        self._lock.ended = None
        try:
            self._record(GiveLockBack(version=2, token=ended.token), spare=True)
        except BaseException:
            self._lock.ended = ended
            raise

    def _record(self, request: Request, spare: bool = False) -> None:
        """Make a commit that changes nothing of the tree."""
        envelope = Envelope(request, encode_request(request))
        self.reserve(envelope.message, spare)
        self.commit(envelope, b"", Step(request.mode, (), self.now, "", []))
        self.settle()

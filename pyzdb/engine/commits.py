"""The one way in which a change lasts: a record in the journal, and an answer that is kept.

Rules this module keeps:

- What can be refused is refused before the change: `reserve` makes its record, and room for that,
  `answer_to` its answer. `commit` then only does what takes no memory and cannot be refused.
- When something is raised and the tree is not settled, nobody can tell what it is: nothing more
  is answered or written, and the server ends. The next start has what was acknowledged.
- A record is the time it was made (seconds since the epoch, as a little-endian double) and the
  message itself, in which all that could come out differently another time is resolved. Replaying
  it is the same code as handling it.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

from pyzdb.engine.client_table import ClientTable
from pyzdb.engine.locks import Lock, LockGrant
from pyzdb.engine.tree import CHANGED, EDITING, SETTLED, Tree
from pyzdb.errors import ChangeFailed, OperationError, StorageFull, SyncFailed
from pyzdb.protocol.messages import (
    RENEW,
    Envelope,
    Reply,
    Request,
    encode_reply,
    encode_request,
    encode_value,
)
from pyzdb.storage.store import Store

STAMP = struct.Struct("<d")

BROKEN = "a change failed half-way: the server ends, and starts with all that was acknowledged"


def do_nothing() -> None:
    """What is left to do of a change that is done."""


class Commits:
    """The commits of one database, for what it holds: ``tree``, ``lock`` and ``answers``.

    ``sequence`` is the number of the last one, ``now`` the time of the one under way (seconds since
    the epoch), ``replayed`` the number of the record that is being done again (0: none is).
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        tree: Tree,
        lock: Lock,
        answers: ClientTable,
        sequence: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tree = tree
        self._lock = lock
        self._answers = answers
        self.sequence = sequence
        self.now = 0.0
        self.replayed = 0
        self._body = b""
        self._unflushed = False

    def begin_replay(self, sequence: int, body: bytes) -> bytes:
        """Take a record to be done again, and return its message."""
        self.replayed = sequence
        (self.now,) = STAMP.unpack_from(body)
        return body[STAMP.size :]

    def reserve(self, message: bytes, spare: bool = False) -> None:
        """Make the record of a message, and room for it, before anything changes; with ``spare``
        also where the disk is full, as it makes room itself or lets others go on.

        Raises ReadOnlyError and StorageFull.
        """
        if self.replayed:
            return
        if self._lock.ended is not None:
            # The journal must know that the lock is free before anyone else writes.
            self._end_lock(self._lock.ended)
        self.now = self._clock()
        self._body = STAMP.pack(self.now) + message
        self._store.reserve(len(self._body), spare)

    def answer_to(self, request: Request, reply: Reply) -> bytes:
        """The answer to a change, which is made before the change is kept. Raises EncodingError
        and OperationError when there can be none."""
        replayed = self.replayed
        if not replayed and reply.error is None:
            return encode_value(reply, request.version, self._store.sequence + 1)
        # Earlier versions kept a change that had such an answer.
        if replayed and not request.number:
            return b""
        return encode_reply(reply, request.version, replayed or self._store.sequence + 1)

    def commit(
        self,
        envelope: Envelope,
        answer: bytes = b"",
        finish: Callable[..., None] = do_nothing,
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
        if self.replayed:
            self.sequence = self.replayed
        else:
            self.sequence = self._store.append(self._body)
            self._unflushed = True
        request = envelope.request
        if self._lock.held is not None:
            self._lock.note(request, self.now)
        finish(*args)
        if request.number:
            self._answers.remember(request.client, request.number, answer, self.sequence)
        return answer

    def settle(self) -> None:
        """The answer of a commit is there: nobody can take it for an error any more."""
        self._tree.state = SETTLED

    def flush(self) -> bool:
        """Make all commits durable; True when there were any. Raises SyncFailed and ChangeFailed:
        then nobody may be answered."""
        if not self._unflushed:
            return False
        try:
            self._store.flush()
        except BaseException as error:
            self._tree.state = EDITING  # it shows what may not be durable
            if isinstance(error, SyncFailed):
                raise
            self.end_unless_settled(error)
        self._unflushed = False
        return True

    def end_unless_settled(self, error: BaseException) -> None:
        """Raise ChangeFailed when an error came between a change and the end of its commit."""
        if self._tree.state is SETTLED:
            return
        self._store.fail(BROKEN)
        raise ChangeFailed(f"{BROKEN} ({type(error).__name__}: {error})") from error

    # --- records of the server's own -------------------------------------------------------

    def note_use_of_lock(self) -> None:
        """Have a restart know that a lock is used whose holder only reads."""
        assert self._lock.held is not None
        with contextlib.suppress(StorageFull):  # it is only a restart that would end it too soon
            self._record(Request(RENEW, 2, token=self._lock.held.token))

    def _end_lock(self, ended: LockGrant) -> None:
        self._lock.ended = None
        try:
            self._record(Request("unlock", 2, token=ended.token), spare=True)
        except BaseException:
            self._lock.ended = ended
            raise

    def _record(self, request: Request, spare: bool = False) -> None:
        """Make a record that changes nothing of the tree."""
        envelope = Envelope(request, encode_request(request))
        self.reserve(envelope.message, spare)
        self.commit(envelope)
        self.settle()

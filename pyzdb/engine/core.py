"""One tree with its history, its lock and its client table: a message in, its answer out.

Rules this module keeps:

- Everything goes through `handle`. What changes the database is validated, applied, answered and
  then committed (commits.py), or it raises and nothing has changed.
- Nobody may be told of an answer before `flush` has returned: then all that the answer shows is
  durable.
- What a message says of itself is never taken for granted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ClassVar

from pyzdb.engine.client_table import ClientTable
from pyzdb.engine.commits import BROKEN, Commit, Commits, Log
from pyzdb.engine.execution import Execution
from pyzdb.engine.filing import Filing
from pyzdb.engine.handlers import handlers_of
from pyzdb.engine.history import HISTORY_LIMIT, MAX_BYTES, History
from pyzdb.engine.interpreter import Interpreter
from pyzdb.engine.locking import Locking, new_token
from pyzdb.engine.locks import Lock
from pyzdb.engine.saves import SaveScheduler
from pyzdb.engine.tree import EDITING, SETTLED, Tree
from pyzdb.errors import (
    ChangeFailed,
    CorruptFile,
    MessageError,
    OperationError,
    PyzdbError,
    SyncFailed,
)
from pyzdb.protocol.replies import Reply, encode_reply, failed
from pyzdb.protocol.requests import Envelope, read_record, read_request, shown, version_of
from pyzdb.storage.snapshot import State
from pyzdb.values.plain import is_plain

logger = logging.getLogger(__name__)


class Core:
    """What a database holds, and what a message does to it.

    ``log`` is where its commits go, ``filing`` has its large files, ``monotonic`` gives seconds.
    `load` and `replay` tell it what to hold; ``sequence`` is the number of the last commit.
    """

    # What it makes its parts of; a test that plants a fault in one has another kind.
    new_tree: ClassVar[type[Tree]] = Tree
    new_commits: ClassVar[type[Commits]] = Commits

    def __init__(
        self,
        log: Log,
        filing: Filing,
        *,
        history_bytes: int = MAX_BYTES,
        interpreter: Interpreter | None = None,
        saves: SaveScheduler | None = None,
        lock_uri: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        new_token: Callable[[], int] = new_token,
    ) -> None:
        self._log = log
        self._filing = filing
        self._history_bytes = history_bytes
        self._interpreter = interpreter
        self._saves = saves
        self._lock_uri = lock_uri
        self._monotonic = monotonic
        self._new_token = new_token
        self._tells_errors = logger.isEnabledFor(logging.INFO)
        self._tells_all = logger.isEnabledFor(logging.DEBUG)
        self.load(None, 0)

    @property
    def sequence(self) -> int:
        """The number of the last commit."""
        return self._commits.sequence

    # --- what it holds ---------------------------------------------------------------------

    def load(self, state: State | None, sequence: int) -> None:
        """Hold what a snapshot says, or nothing; ``sequence`` is that of its last record.

        Raises CorruptFile for a snapshot that is not of this version.
        """
        state = state or {"tree": {}}
        try:
            root = state["tree"]
            self.tree = self.new_tree(root, state["plain"] if "plain" in state else is_plain(root))
            self.history = History(self.tree, HISTORY_LIMIT, self._history_bytes)
            self.lock = Lock()
            self.clients = ClientTable()
            if "history" in state:
                self.history.restore(state["history"])
            if "answers" in state:
                self.clients.restore(state["answers"], sequence)
            self.lock.restore(state.get("lock"), self._monotonic())
        except MemoryError:
            raise
        except Exception as error:  # a state that this version did not make may raise anything
            why = f"{type(error).__name__}: {error}"
            raise CorruptFile(
                f"the snapshot is not of this version of pyzdb, but perhaps of an older one that "
                f"can still serve it ({why})"
            ) from error
        self._commits = self.new_commits(self._log, self.tree, self.lock, self.clients, sequence)
        self._execution = Execution(
            self.tree, self.history, self._commits, self._filing, self._interpreter, self._saves
        )
        self._locking = Locking(
            self.lock, self._commits, self._lock_uri, self._monotonic, self._new_token
        )
        self._handlers = handlers_of(self._execution, self._locking)

    def state(self) -> State:
        """All that a snapshot holds, as builtins; the containers are those of the tree."""
        return {
            "tree": self.tree.root,
            "plain": self.tree.plain,
            "history": self.history.state(),
            "answers": self.clients.state(),
            "lock": self.lock.state(),
        }

    def replay(self, sequence: int, body: bytes) -> None:
        """Do again what a record of the journal says. Raises CorruptFile when it cannot be."""
        try:
            self._commits.replay(sequence, body, self._do_again)
        except MemoryError:
            raise
        except Exception as error:  # a record that this version did not make may raise anything
            text = f"{type(error).__name__}: {error}"
            raise CorruptFile(f"record {sequence} of the journal cannot be done: {text}") from error

    def _do_again(self, message: bytes) -> None:
        envelope = read_record(message)
        self._filing.tell(envelope.request)
        self._handlers[type(envelope.request)](envelope)

    # --- saves -----------------------------------------------------------------------------

    @property
    def save_fd(self) -> int | None:
        """A descriptor that is readable when the running save has ended, and `finish_save` is to be
        called; None without a save."""
        return None if self._saves is None else self._saves.fd

    def finish_save(self) -> None:
        """Wait for the running save, and take note of how it ended."""
        if self._saves is not None:
            self._saves.finish()

    # --- messages --------------------------------------------------------------------------

    def handle(self, message: bytes, on_lock_socket: bool = False) -> bytes | Envelope:
        """Do what a message asks for, and return the answer.

        A client of version 1 cannot be told to come back. When it has to wait, for the lock or
        a save, what comes back is its Envelope, for `answer` to try again.
        """
        try:
            envelope = read_request(message, on_lock_socket)
        except (MessageError, MemoryError) as error:
            # No other name may keep the error: its traceback leads back to this frame.
            version = version_of(message)
            reply = failed(error if isinstance(error, MessageError) else _no_memory(), version)
            return encode_reply(reply, version, self.sequence)
        return self.answer(envelope)

    def answer(self, envelope: Envelope) -> bytes | Envelope:
        """Answer a message that was read before. Raises SyncFailed, as `flush` does."""
        request = envelope.request
        number = request.number
        if self.tree.state is not SETTLED:
            raise ChangeFailed(BROKEN)
        if self._tells_all:
            logger.debug("%r asks for %s", request.client, shown(request))
        try:
            if number:
                known = self.clients.repeat(request.client, number, request.since)
                if known is not None:
                    return known
        except PyzdbError as error:
            reply = failed(error, request.version)
            return encode_reply(reply, request.version, self._commits.sequence)
        result = self._serve(envelope)
        if isinstance(result, bytes):
            # A commit. Only from here on nobody can take its answer for an error.
            self._commits.settle()
            return result
        if result.wait is not None and request.version == 1:
            return envelope
        try:
            answer = encode_reply(result, request.version, self._commits.sequence)
        except MemoryError:
            result = failed(_no_memory(), request.version)
            answer = encode_reply(result, request.version, self._commits.sequence)
        if number and result.wait is None:
            self.clients.remember(request.client, number, answer, self._commits.sequence)
        return answer

    def _serve(self, envelope: Envelope) -> Reply | bytes:
        """What a request comes to: a reply, or the encoded answer to a commit."""
        request = envelope.request
        lock = self.lock
        try:
            # The first lines spare most requests, of which none has to do with a lock, two calls.
            if (
                lock.held is None
                and request.token is None
                and not (envelope.on_lock_socket or lock.line.kept)
            ) or self._admits(envelope):
                return self._handlers[type(request)](envelope)
            return self._locking.wait(envelope)
        except SyncFailed:
            self.tree.state = EDITING  # nothing is answered any more
            raise
        except PyzdbError as error:
            self._commits.end_unless_settled(error)
            if self._tells_errors:
                logger.info("%r: %s: %s", request.client, shown(request), type(error).__name__)
            return failed(error, request.version)
        except Exception as error:
            self._commits.end_unless_settled(error)
            # A fault of this program: the tree is as it was, and the others go on.
            logger.exception("a request failed")
            text = f"{type(error).__name__} in the server: {error}"
            return failed(OperationError(text), request.version)
        except BaseException as error:
            self._commits.end_unless_settled(error)
            raise

    def _admits(self, envelope: Envelope) -> bool:
        """True for a message that may be served though there is, or was, a lock."""
        return self._locking.admits(envelope)

    def flush(self) -> list[Commit]:
        """Make all that was handled durable, and return the commits that have become so. Raises
        SyncFailed: then nobody may be answered."""
        return self._commits.flush()


def _no_memory() -> OperationError:
    return OperationError("MemoryError in the server: there is not enough memory for the message")

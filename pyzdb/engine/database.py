"""The engine: one tree with its history, its journal and its lock, and no socket.

Rules this module keeps:

- Everything goes through `handle`: a message in, the bytes of its answer out. What changes the
  database is validated, applied, answered and then committed (commits.py), or it raises and
  nothing has changed.
- Nobody may be told of an answer before `flush` has returned: then all that the answer shows is
  durable.
- What a message says of itself is never taken for granted: whether it reads or writes is said by
  the table in operations/table.py.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from pyzdb.engine.client_table import ClientTable
from pyzdb.engine.commits import BROKEN, Commits, do_nothing
from pyzdb.engine.execution import Interpreter
from pyzdb.engine.filing import Filing
from pyzdb.engine.history import MAX_BYTES, History, Step
from pyzdb.engine.locks import Lock, LockGrant, gives_up, new_token
from pyzdb.engine.saves import SaveScheduler
from pyzdb.engine.transaction import Transaction
from pyzdb.engine.tree import EDITING, SETTLED, Tree
from pyzdb.errors import (
    ChangeFailed,
    CorruptFile,
    ExecFailed,
    ExecRefused,
    LockError,
    MessageError,
    OperationError,
    PathTypeError,
    PyzdbError,
    SyncFailed,
)
from pyzdb.operations.edits import Change
from pyzdb.operations.table import REMOVING, Operation
from pyzdb.protocol.leases import lease_of
from pyzdb.protocol.messages import (
    CONFIGURE,
    RECORDS,
    RENEW,
    Command,
    Envelope,
    Reply,
    Request,
    encode_reply,
    encode_request,
    read_request,
    shown,
    version_of,
)
from pyzdb.proxy.root import Root
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.files import Files, IngestedFile
from pyzdb.storage.memory import ReadOnlyStore
from pyzdb.storage.snapshot import State
from pyzdb.storage.store import Store
from pyzdb.values.plain import is_plain

HISTORY_LIMIT = 10_000
"""Steps that can be undone unless the operator says otherwise."""

SNAPSHOT_BYTES = 32 * 1024 * 1024
"""Bytes of journal from which on the server saves by itself: some 170,000 small changes, which
a start reads again in about a second."""

Found = tuple[Any, Operation]
"""What is at the path of a command, and what its function does there."""

logger = logging.getLogger(__name__)


class Database:
    """One database. With a ReadOnlyStore, `load` and `replay` tell it what to hold; ``files``
    takes Files in, ``folder`` (default: that of ``files``) is where they lie,
    ``clock`` and ``monotonic`` give seconds, ``new_token`` a lock's token.

    ``save_fd`` is a descriptor that is readable when the running save has ended and `end_save` is
    to be called; None without a save.
    """

    def __init__(
        self,
        store: Store,
        *,
        history_limit: int = HISTORY_LIMIT,
        history_bytes: int = MAX_BYTES,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        files: Files | None = None,
        folder: FileFolder | None = None,
        exec: bool = False,
        lock_uri: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        new_token: Callable[[], int] = new_token,
    ) -> None:
        self._store = store
        self._read_only = isinstance(store, ReadOnlyStore)
        self._saves = SaveScheduler(store, self.state, snapshot_bytes)
        self._filing = Filing(files, folder)
        self._interpreter = Interpreter(self._filing.refuse_new) if exec else None
        self._lock_uri = lock_uri
        self._clock = clock
        self._monotonic = monotonic
        self._new_token = new_token
        self._tells_errors = logger.isEnabledFor(logging.INFO)
        self._tells_all = logger.isEnabledFor(logging.DEBUG)
        self._history_limit = history_limit
        self._history_bytes = history_bytes
        self.load(None, 0)

    @property
    def sequence(self) -> int:
        """The number of the last commit."""
        return self._commits.sequence

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
        opened = self._store.take()
        try:
            self.load(opened.state, opened.sequence)
            for sequence, body in opened.records:
                self.replay(sequence, body)
            self.lock.resume(self._monotonic(), self._clock())
        except BaseException:
            self._store.close()
            raise
        return opened.notes

    def begin(self) -> list[str]:
        """Make what was taken ready to be written, and return more lines. Raises StorageError."""
        notes = self._store.begin()
        self._filing.begin()
        if self.history.limit != self._history_limit:
            limit = Request(CONFIGURE, 2, args=(self._history_limit,))
            self._configure(Envelope(limit, encode_request(limit)))
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

    def load(self, state: State | None, sequence: int) -> None:
        """Hold what a snapshot says, or nothing; ``sequence`` is that of its last record.

        Raises CorruptFile for a snapshot that is none of this version.
        """
        state = state or {"tree": {}}
        try:
            root = state["tree"]
            self.tree = Tree(root, state["plain"] if "plain" in state else is_plain(root))
            self.history = History(self.tree, HISTORY_LIMIT, self._history_bytes)
            self.lock = Lock()
            self._answers = ClientTable()
            self._commits = Commits(
                self._store, self._clock, self.tree, self.lock, self._answers, sequence
            )
            if "history" in state:
                self.history.restore(state["history"])
            if "answers" in state:
                self._answers.restore(state["answers"], sequence)
            self.lock.restore(state.get("lock"), self._monotonic())
        except MemoryError:
            raise
        except Exception as error:  # a state that this version did not make may raise anything
            why = f"{type(error).__name__}: {error}"
            raise CorruptFile(
                f"the snapshot is none of this version of pyzdb, but perhaps of an older one that "
                f"can still serve it ({why})"
            ) from error

    def state(self) -> State:
        """All that a snapshot holds, as builtins; the containers are those of the tree."""
        return {
            "tree": self.tree.root,
            "plain": self.tree.plain,
            "history": self.history.state(),
            "answers": self._answers.state(),
            "lock": self.lock.state(),
        }

    def replay(self, sequence: int, body: bytes) -> None:
        """Do again what a record of the journal says. Raises CorruptFile when it cannot be."""
        commits = self._commits
        try:
            envelope = read_request(commits.begin_replay(sequence, body))
            request = envelope.request
            self._filing.tell(request)
            _MODES[request.mode](self, envelope)
            commits.settle()
            commits.sequence = sequence
        except MemoryError:
            raise
        except Exception as error:  # a record that this version did not make may raise anything
            text = f"{type(error).__name__}: {error}"
            raise CorruptFile(f"record {sequence} of the journal cannot be done: {text}") from error
        finally:
            commits.replayed = 0

    # --- messages --------------------------------------------------------------------------

    def handle(self, message: bytes, on_lock_socket: bool = False) -> bytes | Envelope:
        """Do what a message asks for, and return the answer.

        A client of version 1 cannot be told to come back. When it has to wait, for the lock or
        a save, what comes back is its Envelope, for `answer` to try again.
        """
        try:
            envelope = read_request(message, on_lock_socket)
            request = envelope.request
            if request.mode in RECORDS or request.moved or request.failed:
                raise MessageError("this is a record of a journal and not a request")
        except MessageError as error:
            return encode_reply(Reply(error=error), version_of(message), self.sequence)
        except MemoryError:
            return encode_reply(Reply(error=_no_memory()), version_of(message), self.sequence)
        return self.answer(envelope)

    def answer(self, envelope: Envelope) -> bytes | Envelope:
        """The same for a message that was read before. Raises SyncFailed, as `flush` does."""
        request = envelope.request
        number = request.number
        if self.tree.state is not SETTLED:
            raise ChangeFailed(BROKEN)
        if self._tells_all:
            logger.debug("%r asks for %s", request.client, shown(request))
        try:
            if number:
                known = self._answers.repeat(request.client, number, request.since)
                if known is not None:
                    return known
        except PyzdbError as error:
            return encode_reply(Reply(error=error), request.version, self.sequence)
        try:
            lock = self.lock
            if (
                lock.held is None
                and request.token is None
                and not (envelope.on_lock_socket or lock.line.kept)
            ) or self._admits(envelope):
                reply = _MODES[request.mode](self, envelope)
            else:
                reply = Reply(wait="locked", lock=lock.wait(request, self._monotonic()))
        except SyncFailed:
            self.tree.state = EDITING  # nothing is answered any more
            raise
        except PyzdbError as error:
            # No name of this frame may keep it: its traceback leads back to the frame, and
            # nobody collects such a ring.
            self._commits.end_unless_settled(error)
            if self._tells_errors:
                logger.info("%r: %s: %s", request.client, shown(request), type(error).__name__)
            answer = encode_reply(Reply(error=error), request.version, self.sequence)
        except Exception as error:
            self._commits.end_unless_settled(error)
            # A fault of this program: the tree is as it was, and the others go on.
            logger.exception("a request failed")
            text = f"{type(error).__name__} in the server: {error}"
            reply = Reply(error=OperationError(text))
            answer = encode_reply(reply, request.version, self.sequence)
        except BaseException as error:
            self._commits.end_unless_settled(error)
            raise
        else:
            if isinstance(reply, bytes):
                # A commit. Only from here on nobody can take its answer for an error.
                self._commits.settle()
                return reply
            if reply.wait is not None:
                if request.version == 1:
                    return envelope
                return encode_reply(reply, 2, self.sequence)
            try:
                answer = encode_reply(reply, request.version, self.sequence)
            except MemoryError:
                reply = Reply(error=_no_memory())
                answer = encode_reply(reply, request.version, self.sequence)
        if number:
            self._answers.remember(request.client, number, answer, self.sequence)
        return answer

    def flush(self) -> None:
        """Make all that was handled durable. Raises SyncFailed: then nobody may be answered."""
        if self._commits.flush():
            self._filing.commit()
            self._saves.replace_missing(self._monotonic())

    def tick(self) -> float | None:
        """Do what is due without a message, and return the seconds until it is to be called
        again (None: any)."""
        now = self._monotonic()
        if self.lock.has_ended(now):
            self._end_lock()
        elif self.lock.wants_record:
            self._commits.note_use_of_lock()
        self._saves.tick(now)
        wait = self._store.tick()
        self._saves.replace_missing(now)
        return wait

    # --- saves -----------------------------------------------------------------------------

    @property
    def save_fd(self) -> int | None:
        """Readable when the running save has ended, and `end_save` is to be called."""
        return self._store.save_fd

    def end_save(self) -> None:
        """Wait for the running save, and take note of how it ended."""
        self._saves.end()

    def save(self) -> None:
        """Save in this process, as at the end of a server; a save that runs is ended for it.

        Raises SnapshotFailed.
        """
        self._saves.save()

    def _save(self, envelope: Envelope) -> Reply:
        ticket = self._saves.ticket(envelope.request.ticket)
        if self._saves.has_ended(ticket):
            return Reply()
        envelope.request.ticket = ticket
        return Reply(wait="saving", ticket=ticket)

    # --- commands --------------------------------------------------------------------------

    def _run(self, envelope: Envelope) -> Reply | bytes:
        request = envelope.request
        if request.func is None:
            return Reply(self.tree.find(request.index or ()), plain=self.tree.plain)
        command = request.single()
        if not command.index and command.func in _WHOLE:
            return self._run_whole(envelope, command)
        tree = self.tree
        value, operation = tree.operation(command)
        if operation is None or operation.kind == "read":
            # What is stored comes back, or an argument: the default of `get`.
            plain = tree.plain and operation is not None and operation.stored and not request.tagged
            return Reply(tree.read(command, value, operation), plain=plain)
        return self._write(envelope, (command,), (value, operation))

    def _run_whole(self, envelope: Envelope, command: Command) -> Reply | bytes:
        """Call a function of the tree as a whole, with the arguments that a path has it called."""
        func = command.func or ""
        signature = _SIGNATURES[func]
        try:
            bound = signature.bind(None, *command.args, **command.kwargs)
        except TypeError as error:
            takes = str(signature).replace("(self, ", "(").replace("(self)", "()")
            raise PathTypeError(f"db.{func}{takes.partition(' ->')[0]}: {error}") from None
        bound.apply_defaults()
        return _WHOLE[func](self, envelope, *bound.args[1:])

    def _batch(self, envelope: Envelope) -> Reply | bytes:
        return self._write(envelope, envelope.request.commands)

    def _write(
        self, envelope: Envelope, commands: tuple[Command, ...], found: Found | None = None
    ) -> Reply | bytes:
        """Do a batch, or the one command for which this was ``found``, as one step."""
        request = envelope.request
        if not request.tagged or self._commits.replayed:
            return self._do(request, envelope, commands, found)
        commands, taken = self._filing.take(commands)
        try:
            if taken:
                envelope = self._filing.recorded(envelope, commands, taken)
            return self._do(request, envelope, commands, found, taken)
        finally:
            self._filing.give_back(taken)

    def _do(
        self,
        request: Request,
        envelope: Envelope,
        commands: tuple[Command, ...],
        found: Found | None,
        taken: Sequence[IngestedFile] = (),
    ) -> Reply | bytes:
        """The same when the files in it are ``taken``; ``request`` is what is answered."""
        commits = self._commits
        if found is None:
            return self._do_all(request, envelope, commands, taken)
        [command] = commands
        commits.reserve(envelope.message, command.func in REMOVING)
        value, operation = found
        tree = self.tree
        was_plain = tree.plain
        done: list[Change] = []
        try:
            plain = not envelope.request.tagged
            result = tree.write(command, value, operation, plain, done, envelope)
            answer = commits.answer_to(request, Reply(result))
        except BaseException:
            tree.take_back(done, 0, was_plain)
            raise
        step = Step(command.func or "", command.place(), commits.now, envelope.request.client, done)
        return commits.commit(envelope, answer, self._keep, step, taken)

    def _do_all(
        self,
        request: Request,
        envelope: Envelope,
        commands: tuple[Command, ...],
        taken: Sequence[IngestedFile],
    ) -> Reply | bytes:
        """Do all commands of a request or none."""
        commits = self._commits
        message = envelope.message
        spare = all(command.func in REMOVING for command in commands)
        plain = not envelope.request.tagged
        done = Transaction(self.tree, lambda: commits.reserve(message, spare), plain)
        try:
            results = done.all(commands)
            reply = Reply(results, plain=done.only_fetched and self.tree.plain)
            if not done.begun:
                return reply
            answer = commits.answer_to(request, reply)
        except BaseException:
            done.revert()
            raise
        step = Step("batch", (), commits.now, envelope.request.client, done.changes)
        return commits.commit(envelope, answer, self._keep, step, taken)

    def _keep(self, step: Step, taken: Sequence[IngestedFile] = ()) -> None:
        """Add a step to the history, and keep the files in it when there are changes."""
        self.history.add(step)
        if step.changes:
            self._filing.keep(taken)

    def _undo(self, envelope: Envelope, steps: int) -> bytes:
        commits = self._commits
        commits.reserve(envelope.message, spare=True)
        answer = commits.answer_to(envelope.request, Reply())
        self.history.undo_steps(steps)
        return commits.commit(envelope, answer)

    def _redo(self, envelope: Envelope, steps: int) -> bytes:
        commits = self._commits
        commits.reserve(envelope.message, spare=True)
        answer = commits.answer_to(envelope.request, Reply())
        self.history.redo_steps(steps)
        return commits.commit(envelope, answer)

    def _steps(self, envelope: Envelope, limit: int | None) -> Reply:
        return Reply([step.shown() for step in self.history.steps(limit)])

    def _read_all(self, envelope: Envelope) -> Reply:
        return Reply(self.tree.root, plain=self.tree.plain)

    def _hello(self, envelope: Envelope) -> Reply:
        return Reply({"sequence": self.sequence})

    def _configure(self, envelope: Envelope) -> bytes:
        commits = self._commits
        commits.reserve(envelope.message, spare=True)
        return commits.commit(envelope, b"", self.history.set_limit, *envelope.request.args)

    # --- exec ------------------------------------------------------------------------------

    def _exec(self, envelope: Envelope) -> Reply | bytes:
        """Run source with `db` as the tree.

        The record holds what it did, and in place of the source what it printed.
        """
        commits = self._commits
        request = envelope.request
        printed, failed = request.command or "", request.failed
        source = printed.encode()
        done = Transaction(self.tree, lambda: commits.reserve(source))
        try:
            if commits.replayed:
                for command in request.commands:
                    done.do(command)
            elif self._interpreter is None:
                raise ExecRefused(
                    "this server runs no code of its clients; it must be started with --exec for"
                    " that"
                )
            else:
                printed, commands, failed = self._interpreter.run(printed, done)
                envelope = self._filing.recorded(envelope, commands, (), printed, failed)
                commits.reserve(envelope.message)
            # An old client shows whatever it gets.
            is_error = failed and request.version != 1
            reply = Reply(error=ExecFailed(printed)) if is_error else Reply(printed)
            answer = commits.answer_to(request, reply)
        except BaseException:
            done.revert()
            raise
        step = Step("exec", (), commits.now, request.client, done.changes)
        return commits.commit(envelope, answer, self._keep, step)

    # --- the lock --------------------------------------------------------------------------

    def _admits(self, envelope: Envelope) -> bool:
        """True for a message that may be served though there is, or was, a lock."""
        if self._read_only:
            return True  # it does not see the lock being used, so it does not know its end
        now = self._monotonic()
        if self.lock.has_ended(now):
            self._end_lock()
        return self.lock.admits(envelope.request, envelope.on_lock_socket, now)

    def _end_lock(self) -> None:
        logger.info("the lease of the lock ended: %s had it", self.lock.held)
        self.lock.end()

    def _renew_lock(self, envelope: Envelope) -> bytes:
        return self._commits.commit(envelope)  # which takes note of it

    def _take_lock(self, envelope: Envelope) -> bytes:
        commits = self._commits
        request = envelope.request
        # Earlier versions took the sequence for the token.
        token = request.token or commits.replayed or self._new_token()
        if not commits.replayed:
            request = replace(request, token=token)
            envelope = Envelope(request, encode_request(request))
        commits.reserve(envelope.message)
        if self.lock.held is not None:
            raise LockError("this client holds the lock already")
        lease = lease_of(request.lease)
        held = LockGrant(token, lease, request.version, request.client, commits.now)
        value = {"locked": True, "uri": self._lock_uri}
        if request.version != 1:
            value |= {"token": held.token, "lease": held.lease}
        answer = commits.answer_to(request, Reply(value))
        if not commits.replayed:
            logger.info("%r has the lock, with a lease of %s s", held.client, held.lease)
        return commits.commit(envelope, answer, self.lock.take, held, self._monotonic())

    def _give_lock_back(self, envelope: Envelope) -> bytes:
        commits = self._commits
        request = envelope.request
        commits.reserve(envelope.message, spare=True)
        held = self.lock.held
        if held is None and not gives_up(request):
            raise LockError("this client does not hold the lock")
        answer = commits.answer_to(request, Reply({"locked": False}))
        # A record of it even if there is nothing to free: what this client asked for before and
        # arrives late has an older number then, and is refused.
        is_its_own = held is not None and (not gives_up(request) or held.client == request.client)
        if held is not None and is_its_own and not commits.replayed:
            logger.info("%r gave the lock back", held.client)
        return commits.commit(envelope, answer, self.lock.free if is_its_own else do_nothing)


def _no_memory() -> OperationError:
    return OperationError("MemoryError in the server: there is no room for so large a message")


_MODES: dict[str, Callable[[Database, Envelope], Reply | bytes]] = {
    "read": Database._run,
    "write": Database._run,
    "batch": Database._batch,
    "readall": Database._read_all,
    "lock": Database._take_lock,
    "unlock": Database._give_lock_back,
    "exec": Database._exec,
    "hello": Database._hello,
    CONFIGURE: Database._configure,
    RENEW: Database._renew_lock,
}

_WHOLE: dict[str, Callable[..., Reply | bytes]] = {
    "undo": Database._undo,
    "redo": Database._redo,
    "save": Database._save,
    "history": Database._steps,
}
"""The functions of the tree as a whole, called at the empty path."""

_SIGNATURES = {name: inspect.signature(getattr(Root, name)) for name in _WHOLE}
"""What they take."""

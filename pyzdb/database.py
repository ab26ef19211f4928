"""The engine: one tree with its history, its journal and its lock, and no socket.

Rules this module keeps:

- Everything goes through `handle`: a message in, the bytes of its answer out. What changes the
  tree is validated, applied, appended to the journal and remembered, in this order, or it raises
  and nothing has changed.
- Nobody may be told of an answer before `flush` has returned: then all that the answer shows is
  durable.
- A record of the journal is the time it was made (seconds since the epoch, as a little-endian
  double) and the message itself, in which all that could come out differently another time is
  resolved. Replaying it is the same code as handling it.
- What a message says of itself is never taken for granted: whether it reads or writes is said by
  the table in operations.py.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from pyzdb.answers import Answers
from pyzdb.edits import Change
from pyzdb.errors import (
    CorruptFile,
    ExecRefused,
    LockError,
    MessageError,
    OperationError,
    Path,
    PyzdbError,
    SnapshotFailed,
    SyncFailed,
    path_text,
)
from pyzdb.history import History, Step
from pyzdb.locks import Held, Lock, lease_of
from pyzdb.messages import (
    CONFIGURE,
    Command,
    Reply,
    Request,
    decode_request,
    encode_reply,
    encode_request,
    version_of,
)
from pyzdb.operations import REMOVING, Operation
from pyzdb.saves import Saves
from pyzdb.source import Interpreter
from pyzdb.storage.files import Files, Taken, take_all
from pyzdb.storage.snapshot import State
from pyzdb.storage.store import ReadOnlyStore, Store
from pyzdb.transaction import Transaction
from pyzdb.tree import Tree, query_error
from pyzdb.values import is_plain

HISTORY_LIMIT = 10_000
"""Steps that can be undone unless the operator says otherwise."""

SNAPSHOT_BYTES = 32 * 1024 * 1024
"""Bytes of journal from which on the server saves by itself: some 170,000 small changes, which
a start reads again in about a second."""

STAMP = struct.Struct("<d")

Found = tuple[Any, Operation]
"""What is at the path of a command, and what its function does there."""

logger = logging.getLogger(__name__)


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A message as it came, and what it says; ``on_lock_socket``: it came from the address that
    the holder of the lock is sent to."""

    request: Request
    message: bytes
    on_lock_socket: bool = False


class Database:
    """One database. With a ReadOnlyStore, `load` and `replay` tell it what to hold; ``files``
    takes Files in, ``clock`` and ``monotonic`` give seconds.

    ``save_fd`` is a descriptor that is readable when the running save has ended and `end_save` is
    to be called; None without a save.
    """

    def __init__(
        self,
        store: Store,
        *,
        history_limit: int = HISTORY_LIMIT,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        files: Files | None = None,
        exec: bool = False,
        lock_uri: str = "",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._read_only = isinstance(store, ReadOnlyStore)
        self._saves = Saves(store, self.state)
        self._snapshot_bytes = snapshot_bytes
        self._save_from = snapshot_bytes
        self._files = files
        self._interpreter = Interpreter(self._refuse_new_files) if exec else None
        self._lock_uri = lock_uri
        self._clock = clock
        self._monotonic = monotonic
        self._now = 0.0
        self._replayed = 0  # the sequence of the record that is being done again
        self._unflushed = False
        self._taken: list[Taken] = []
        self._moved: list[tuple[str, str]] = []
        self._ended_lock: Held | None = None
        self._history_limit = history_limit
        self.save_fd: int | None = None
        self.sequence = 0
        self.load(None, 0)

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
        except BaseException:
            self._store.close()
            raise
        return opened.notes

    def begin(self) -> list[str]:
        """Make what was taken ready to be written, and return more lines. Raises StorageError."""
        notes = self._store.begin()
        self._finish_moves()
        if self.history.limit != self._history_limit:
            limit = Request(CONFIGURE, 2, args=(self._history_limit,))
            self._configure(Asked(limit, encode_request(limit)))
        self.flush()
        return notes

    def close(self) -> None:
        """Make everything durable and let go of the files, also when that fails."""
        try:
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
            self.history = History(self.tree, HISTORY_LIMIT)
            self.lock = Lock()
            self._answers = Answers()
            self._ended_lock = None
            self.sequence = sequence
            if "history" in state:
                self.history.restore(state["history"])
            if "answers" in state:
                self._answers.restore(state["answers"])
            if state.get("lock") is not None:
                self.lock.take(Held(*state["lock"]), self._monotonic())
        except Exception as error:  # a state that this version did not make may raise anything
            why = f"{type(error).__name__}: {error}"
            raise CorruptFile(
                f"the snapshot is none of this version of pyzdb, but perhaps of an older one that "
                f"can still serve it ({why})"
            ) from error

    def state(self) -> State:
        """All that a snapshot holds, as builtins; the containers are those of the tree."""
        held = self.lock.held or self._ended_lock
        return {
            "tree": self.tree.root,
            "plain": self.tree.plain,
            "history": self.history.state(),
            "answers": self._answers.state(),
            "lock": None if held is None else tuple(held),
        }

    def replay(self, sequence: int, body: bytes) -> None:
        """Do again what a record of the journal says. Raises CorruptFile when it cannot be."""
        self._replayed = sequence
        try:
            (self._now,) = STAMP.unpack_from(body)
            message = body[STAMP.size :]
            request = decode_request(message)
            reply = _MODES[request.mode](self, Asked(request, message))
            self.sequence = sequence
            if request.moved and self._files is not None:
                self._moved += request.moved
            if request.number:
                answer = encode_reply(reply, request.version)
                self._answers.remember(request.client, request.number, answer, sequence)
        except Exception as error:  # a record that this version did not make may raise anything
            text = f"{type(error).__name__}: {error}"
            raise CorruptFile(f"record {sequence} of the journal cannot be done: {text}") from error
        finally:
            self._replayed = 0

    # --- messages --------------------------------------------------------------------------

    def handle(self, message: bytes, on_lock_socket: bool = False) -> bytes | Asked:
        """Do what a message asks for, and return the answer.

        A client of version 1 cannot be told to come back. When it has to wait, for the lock or
        a save, what comes back is an Asked, for `answer` to try again.
        """
        try:
            request = decode_request(message)
            if request.mode == CONFIGURE or request.moved:
                raise MessageError("this is a record of a journal and no request")
        except MessageError as error:
            return encode_reply(Reply(error=error), version_of(message))
        return self.answer(Asked(request, message, on_lock_socket))

    def answer(self, asked: Asked) -> bytes | Asked:
        """The same for a message that was read before. Raises SyncFailed, as `flush` does."""
        request = asked.request
        number = request.number
        try:
            if number:
                known = self._answers.repeat(request.client, number, request.since)
                if known is not None:
                    return known
        except PyzdbError as error:
            return encode_reply(Reply(error=error), request.version)
        try:
            if (
                self.lock.held is None and request.token is None and not asked.on_lock_socket
            ) or self._admits(asked):
                reply = _MODES[request.mode](self, asked)
            else:
                reply = Reply(wait="locked")
        except SyncFailed:
            raise
        except PyzdbError as error:
            # No name of this frame may keep it: its traceback leads back to the frame, and
            # nobody collects such a ring.
            answer = encode_reply(Reply(error=error), request.version)
        except Exception as error:
            # A fault of this program: the tree is as it was, and the others go on.
            logger.exception("a request failed")
            text = f"{type(error).__name__} in the server: {error}"
            answer = encode_reply(Reply(error=OperationError(text)), request.version)
        else:
            if reply.wait is not None:
                return asked if request.version == 1 else encode_reply(reply)
            answer = encode_reply(reply, request.version)
        if number:
            self._answers.remember(request.client, number, answer, self.sequence)
        return answer

    def flush(self) -> None:
        """Make all that was handled durable. Raises SyncFailed: then nobody may be answered."""
        if not self._unflushed:
            return
        self._store.flush()
        self._unflushed = False
        for taken in self._taken:
            taken.commit()
        self._taken.clear()

    def tick(self) -> float | None:
        """Do what is due without a message, and return the seconds until it is to be called
        again (None: any)."""
        if self.lock.has_ended(self._monotonic()):
            self._end_lock()
        store = self._store
        if not self._saves.running and (
            store.wants_save
            or (store.journal_size > self._save_from and store.journal_size > store.snapshot_size)
        ):
            try:
                self._saves.start()
                self.save_fd = store.save_fd
            except SnapshotFailed as error:
                self._postpone(str(error))
        return store.tick()

    # --- saves -----------------------------------------------------------------------------

    def end_save(self) -> None:
        """Wait for the running save, and take note of how it ended."""
        failure = self._saves.end()
        self.save_fd = self._store.save_fd
        if failure is None:
            self._save_from = self._snapshot_bytes
        else:
            self._postpone(failure)

    def save(self) -> None:
        """Save in this process, as at the end of a server, when a save that runs has ended.

        Raises SnapshotFailed.
        """
        if self.save_fd is not None:
            self.end_save()
        self._store.save(self.state)

    def _postpone(self, failure: str) -> None:
        logger.error("%s; the journal goes on", failure)
        self._save_from = self._store.journal_size + self._snapshot_bytes

    def _save(self, asked: Asked) -> Reply:
        ticket = self._saves.ticket(asked.request.ticket)
        if self._saves.has_ended(ticket):
            return Reply()
        self.save_fd = self._store.save_fd
        asked.request.ticket = ticket
        return Reply(wait="saving", ticket=ticket)

    # --- commands --------------------------------------------------------------------------

    def _run(self, asked: Asked) -> Reply:
        request = asked.request
        if request.func is None:
            return Reply(self.tree.find(request.index or ()), plain=self.tree.plain)
        command = request.single()
        if not command.index and command.func in _WHOLE:
            try:
                return _WHOLE[command.func](self, asked, *command.args, **command.kwargs)
            except (TypeError, ValueError) as error:
                raise query_error(error, ()) from None
        tree = self.tree
        value, operation = tree.operation(command)
        if operation is None or operation.kind == "read":
            # What is stored comes back, or an argument: the default of `get`.
            plain = tree.plain and operation is not None and operation.stored and not request.tagged
            return Reply(tree.read(command, value, operation), plain=plain)
        return self._write(asked, (command,), (value, operation))

    def _batch(self, asked: Asked) -> Reply:
        return self._write(asked, asked.request.commands)

    def _write(
        self, asked: Asked, commands: tuple[Command, ...], found: Found | None = None
    ) -> Reply:
        """Do a batch, or the one command for which this was ``found``, as one step."""
        if not asked.request.tagged or self._files is None or self._replayed:
            reply, _ = self._do(asked, commands, found)
            return reply
        commands, taken = self._take_files(commands)
        if taken:
            asked = _resolved(asked, commands, moved=tuple(filter(None, (t.moved for t in taken))))
        changes: list[Change] = []
        try:
            reply, changes = self._do(asked, commands, found)
            return reply
        finally:
            if changes:
                self._taken += taken
            else:
                for one in taken:
                    one.discard()

    def _do(
        self, asked: Asked, commands: tuple[Command, ...], found: Found | None
    ) -> tuple[Reply, list[Change]]:
        """The same without a look at files."""
        if found is None:
            return self._do_all(asked, commands)
        [command] = commands
        self._reserve(len(asked.message), command.func in REMOVING)
        value, operation = found
        plain = not asked.request.tagged
        result, changes = self.tree.write(command, value, operation, plain, asked.message)
        self._record(asked, command.func or "", command.place(), changes)
        return Reply(result), changes

    def _do_all(self, asked: Asked, commands: tuple[Command, ...]) -> tuple[Reply, list[Change]]:
        """Do all commands of a request or none."""
        size = len(asked.message)
        spare = all(command.func in REMOVING for command in commands)
        done = Transaction(self.tree, lambda: self._reserve(size, spare), not asked.request.tagged)
        try:
            results = done.all(commands)
        except BaseException:
            done.revert()
            raise
        if done.begun:
            self._record(asked, "batch", (), done.changes)
        return Reply(results, plain=done.only_fetched and self.tree.plain), done.changes

    def _take_files(self, commands: tuple[Command, ...]) -> tuple[tuple[Command, ...], list[Taken]]:
        assert self._files is not None
        taken: list[Taken] = []
        resolved = []
        try:
            for command in commands:
                args, new = take_all(self._files, command.args)
                taken += new
                kwargs, new = take_all(self._files, command.kwargs)
                taken += new
                resolved.append(Command(command.index, command.func, args, kwargs))
        except BaseException:
            for one in taken:
                one.discard()
            raise
        return tuple(resolved), taken

    def _refuse_new_files(self, command: Command) -> None:
        if self._files is not None:
            take_all(self._files, (command.args, command.kwargs), new=False)

    def _finish_moves(self) -> None:
        """Remove what a crash left of files that were moved."""
        if self._files is not None:
            for source, location in self._moved:
                self._files.finish(source, location)
            self._moved.clear()

    def _reserve(self, size: int, spare: bool = False) -> None:
        """Make room for the record of a message of ``size`` bytes, before anything changes; with
        ``spare`` also where the disk is full, as it makes room itself or lets others go on.

        Raises ReadOnlyError and StorageFull.
        """
        if self._replayed:
            return
        if self._ended_lock is not None:
            # The journal must know that the lock is free before anyone else writes.
            message = encode_request(Request("unlock", 2, token=self._ended_lock.token))
            self._store.reserve(STAMP.size + len(message), spare=True)
            self._append(message)
            self._ended_lock = None
        self._store.reserve(STAMP.size + size, spare)

    def _append(self, message: bytes) -> None:
        if self._replayed:
            self.sequence = self._replayed
        else:
            self._now = self._clock()
            self.sequence = self._store.append(STAMP.pack(self._now) + message)
            self._unflushed = True

    def _record(self, asked: Asked, what: str, where: Path, changes: list[Change]) -> None:
        """Append what was done to the journal and to the history."""
        self._append(asked.message)
        self.history.add(Step(what, where, self._now, asked.request.client, changes))

    def _undo(self, asked: Asked, steps: int = 1) -> Reply:
        self._reserve(len(asked.message), spare=True)
        self.history.undo_steps(steps)
        self._append(asked.message)
        return Reply()

    def _redo(self, asked: Asked, steps: int = 1) -> Reply:
        self._reserve(len(asked.message))
        self.history.redo_steps(steps)
        self._append(asked.message)
        return Reply()

    def _steps(self, asked: Asked, limit: int | None = None) -> Reply:
        return Reply(
            [
                {
                    "what": step.what,
                    "where": path_text(step.where),
                    "when": datetime.fromtimestamp(step.when, UTC),
                    "who": step.who,
                }
                for step in self.history.steps(limit)
            ]
        )

    def _read_all(self, asked: Asked) -> Reply:
        return Reply(self.tree.root, plain=self.tree.plain)

    def _hello(self, asked: Asked) -> Reply:
        return Reply({"sequence": self.sequence})

    def _configure(self, asked: Asked) -> Reply:
        self._reserve(len(asked.message), spare=True)
        (self.history.limit,) = asked.request.args
        self.history.trim()
        self._append(asked.message)
        return Reply()

    # --- exec ------------------------------------------------------------------------------

    def _exec(self, asked: Asked) -> Reply:
        """Run source with `db` as the tree.

        The record holds what it did, and in place of the source what it printed.
        """
        request = asked.request
        done = Transaction(self.tree, lambda: self._reserve(len(request.command or "")))
        if self._replayed:
            printed = request.command or ""
            for command in request.commands:
                done.do(command)
        elif self._interpreter is None:
            raise ExecRefused(
                "this server runs no code of its clients; it must be started with --exec for that"
            )
        else:
            printed, commands = self._interpreter.run(request.command or "", done)
            try:
                asked = _resolved(asked, commands, printed)
                self._reserve(len(asked.message))
            except PyzdbError:
                done.revert()
                raise
        self._record(asked, "exec", (), done.changes)
        return Reply(printed)

    # --- the lock --------------------------------------------------------------------------

    def _admits(self, asked: Asked) -> bool:
        """True for a message that may be served though there is, or was, a lock."""
        if self._read_only:
            return True  # it does not see the lock being used, so it does not know its end
        request = asked.request
        now = self._monotonic()
        if self.lock.has_ended(now):
            self._end_lock()
        return self.lock.admits(request.token, asked.on_lock_socket, now) or request.mode == "hello"

    def _end_lock(self) -> None:
        self._ended_lock = self.lock.held
        logger.info("the lease of the lock ended: %s", self.lock.held)
        self.lock.free()

    def _take_lock(self, asked: Asked) -> Reply:
        request = asked.request
        self._reserve(len(asked.message))
        if self.lock.held is not None:
            raise LockError("this client holds the lock already")
        lease = lease_of(request.lease)
        self._append(asked.message)
        self.lock.take(Held(self.sequence, lease, request.version), self._monotonic())
        answer = {"locked": True, "uri": self._lock_uri}
        if request.version != 1:
            answer |= {"token": self.sequence, "lease": lease}
        return Reply(answer)

    def _give_lock_back(self, asked: Asked) -> Reply:
        self._reserve(len(asked.message), spare=True)
        if self.lock.held is None:
            raise LockError("this client does not hold the lock")
        self._append(asked.message)
        self.lock.free()
        return Reply({"locked": False})


def _resolved(
    asked: Asked,
    commands: tuple[Command, ...],
    printed: str | None = None,
    moved: tuple[tuple[str, str], ...] = (),
) -> Asked:
    """What was asked, with what it came to in place of what it said."""
    request = asked.request
    if request.mode in ("batch", "exec"):
        request = replace(request, commands=commands, command=printed)
    else:
        (one,) = commands
        request = replace(request, args=one.args, kwargs=one.kwargs)
    request = replace(request, version=2, moved=moved)
    return Asked(request, encode_request(request), asked.on_lock_socket)


_MODES: dict[str, Callable[[Database, Asked], Reply]] = {
    "read": Database._run,
    "write": Database._run,
    "batch": Database._batch,
    "readall": Database._read_all,
    "lock": Database._take_lock,
    "unlock": Database._give_lock_back,
    "exec": Database._exec,
    "hello": Database._hello,
    CONFIGURE: Database._configure,
}

_WHOLE: dict[str, Callable[..., Reply]] = {
    "undo": Database._undo,
    "redo": Database._redo,
    "save": Database._save,
    "history": Database._steps,
}
"""The functions of the tree as a whole, called at the empty path."""

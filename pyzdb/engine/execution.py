"""What requests do to the tree and its history.

Rules this module keeps:

- What a request asks for is done whole and kept as one commit, or it raises and nothing has
  changed.
- Whether it reads or writes is said by the table in operations/table.py, never by the request.
- What it is answered is known before it is kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from pyzdb.engine.commits import Commits
from pyzdb.engine.filing import Filing
from pyzdb.engine.history import History, Step
from pyzdb.engine.interpreter import Interpreter
from pyzdb.engine.saves import SaveScheduler
from pyzdb.engine.transaction import Transaction
from pyzdb.engine.tree import Tree
from pyzdb.errors import ExecFailed, ExecRefused, PathTypeError, ReadOnlyError
from pyzdb.operations.edits import Change
from pyzdb.operations.table import REMOVING, Operation
from pyzdb.paths import Value
from pyzdb.protocol.commands import Command
from pyzdb.protocol.replies import Reply, failed
from pyzdb.protocol.requests import Envelope
from pyzdb.proxy.root import Root
from pyzdb.storage.files import IngestedFile

Found = tuple[Value, Operation]
"""What is at the path of a command, and what its function does there."""


class Execution:
    """The requests of one database for its ``tree`` and ``history``, which ``commits`` keeps.

    ``interpreter`` runs source (None: nothing does), ``saves`` are asked for saves (None: there
    are none).
    """

    def __init__(
        self,
        tree: Tree,
        history: History,
        commits: Commits,
        filing: Filing,
        interpreter: Interpreter | None,
        saves: SaveScheduler | None,
    ) -> None:
        self._tree = tree
        self._history = history
        self._commits = commits
        self._filing = filing
        self._interpreter = interpreter
        self._saves = saves

    # --- commands --------------------------------------------------------------------------

    def call(self, envelope: Envelope) -> Reply | bytes:
        """One command."""
        request = envelope.request
        if request.func is None:
            return Reply(self._tree.find(request.index), plain=self._tree.plain)
        command = request.single()
        if not command.index and command.func in _WHOLE:
            return self._call_whole(envelope, command)
        tree = self._tree
        value, operation = tree.operation(command)
        if operation is None or operation.kind == "read":
            # What is stored comes back, or an argument: the default of `get`.
            plain = tree.plain and operation is not None and operation.stored and not request.tagged
            return Reply(tree.read(command, value, operation), plain=plain)
        return self._write(envelope, (command,), (value, operation))

    def batch(self, envelope: Envelope) -> Reply | bytes:
        """Many commands, all or none."""
        return self._write(envelope, envelope.request.commands)

    def read_all(self, envelope: Envelope) -> Reply:
        """The whole tree."""
        return Reply(self._tree.root, plain=self._tree.plain)

    def hello(self, envelope: Envelope) -> Reply:
        """How far the database is."""
        return Reply({"sequence": self._commits.sequence})

    def _write(
        self, envelope: Envelope, commands: tuple[Command, ...], found: Found | None = None
    ) -> Reply | bytes:
        """Do a batch, or the one command for which this was ``found``, as one step."""
        if not envelope.request.tagged or not self._commits.is_live:
            return self._do(envelope, envelope, commands, found)
        commands, taken = self._filing.take(commands)
        try:
            record = self._filing.recorded(envelope, commands, taken) if taken else envelope
            return self._do(envelope, record, commands, found, taken)
        finally:
            self._filing.give_back(taken)

    def _do(
        self,
        asked: Envelope,
        record: Envelope,
        commands: tuple[Command, ...],
        found: Found | None,
        taken: Sequence[IngestedFile] = (),
    ) -> Reply | bytes:
        """Do what was ``asked``, which the journal has as the ``record``, with the files ``taken``
        for it."""
        if found is None:
            return self._do_all(asked, record, commands, taken)
        [command] = commands
        commits = self._commits
        commits.reserve(record.message, command.func in REMOVING)
        value, operation = found
        tree = self._tree
        was_plain = tree.plain
        done: list[Change] = []
        try:
            plain = not record.request.tagged
            result = tree.write(command, value, operation, plain, done, record)
            answer = commits.answer_to(asked.request, Reply(result))
        except BaseException:
            tree.take_back(done, 0, was_plain)
            raise
        step = Step(command.func or "", command.place(), commits.now, asked.request.client, done)
        return commits.commit(record, answer, step, self._keep, step, taken)

    def _do_all(
        self,
        asked: Envelope,
        record: Envelope,
        commands: tuple[Command, ...],
        taken: Sequence[IngestedFile],
    ) -> Reply | bytes:
        """Do all commands of a request or none."""
        commits = self._commits
        spare = all(command.func in REMOVING for command in commands)
        done = Transaction(
            self._tree,
            lambda: commits.reserve(record.message, spare),
            plain=not record.request.tagged,
        )
        try:
            results = done.all(commands)
            reply = Reply(results, plain=done.only_fetched and self._tree.plain)
            if not done.begun:
                return reply
            answer = commits.answer_to(asked.request, reply)
        except BaseException:
            done.revert()
            raise
        step = Step("batch", (), commits.now, asked.request.client, done.changes)
        return commits.commit(record, answer, step, self._keep, step, taken)

    def _keep(self, step: Step, taken: Sequence[IngestedFile] = ()) -> None:
        """Add a step to the history, and keep the files in it when there are changes."""
        self._history.add(step)
        if taken and step.changes:
            self._filing.keep(taken)

    # --- the tree as a whole ---------------------------------------------------------------

    def _call_whole(self, envelope: Envelope, command: Command) -> Reply | bytes:
        """Call a function of the tree as a whole, with the arguments that a path has it called."""
        func = command.func or ""
        signature = _SIGNATURES[func]
        try:
            bound = signature.bind(None, *command.args, **command.kwargs)
        except TypeError as error:
            takes = str(signature).replace("(self, ", "(").replace("(self)", "()").replace("'", "")
            raise PathTypeError(f"db.{func}{takes.partition(' ->')[0]}: {error}") from None
        bound.apply_defaults()
        return _WHOLE[func](self, envelope, *bound.args[1:])

    def _undo(self, envelope: Envelope, steps: int) -> bytes:
        return self._walk(envelope, "undo", self._history.undo_steps, steps)

    def _redo(self, envelope: Envelope, steps: int) -> bytes:
        return self._walk(envelope, "redo", self._history.redo_steps, steps)

    def _walk(
        self, envelope: Envelope, what: str, walk: Callable[[int], list[Change]], steps: int
    ) -> bytes:
        commits = self._commits
        commits.reserve(envelope.message, spare=True)
        answer = commits.answer_to(envelope.request, Reply())
        step = Step(what, (), commits.now, envelope.request.client, walk(steps))
        return commits.commit(envelope, answer, step)

    def _steps(self, envelope: Envelope, limit: int | None) -> Reply:
        return Reply([step.shown() for step in self._history.steps(limit)])

    def _save(self, envelope: Envelope) -> Reply:
        if self._saves is None:
            raise ReadOnlyError("this server only reads: the one that keeps the database saves it")
        ticket = self._saves.ticket(envelope.request.ticket)
        if self._saves.has_ended(ticket):
            return Reply()
        envelope.request.ticket = ticket
        return Reply(wait="saving", ticket=ticket)

    def set_limit(self, envelope: Envelope) -> bytes:
        """A new limit of the history."""
        commits = self._commits
        commits.reserve(envelope.message, spare=True)
        step = Step("configure", (), commits.now, "", [])
        return commits.commit(envelope, b"", step, self._history.set_limit, *envelope.request.args)

    # --- exec ------------------------------------------------------------------------------

    def exec(self, envelope: Envelope) -> Reply | bytes:
        """Run source with `db` as the tree.

        The record holds what it did, and in place of the source what it printed.
        """
        commits = self._commits
        request = envelope.request
        printed = request.command
        source = printed.encode()
        done = Transaction(self._tree, lambda: commits.reserve(source))
        try:
            if not commits.is_live:
                has_failed = request.failed
                for command in request.commands:
                    done.do(command)
            elif self._interpreter is None:
                raise ExecRefused(
                    "this server runs no code of its clients; it must be started with --exec for"
                    " that"
                )
            else:
                printed, commands, has_failed = self._interpreter.run(printed, done)
                envelope = self._filing.recorded(
                    envelope, commands, command=printed, failed=has_failed
                )
            commits.reserve(envelope.message)
            # An old client shows whatever it gets.
            is_error = has_failed and request.version != 1
            reply = failed(ExecFailed(printed)) if is_error else Reply(printed)
            answer = commits.answer_to(request, reply)
        except BaseException:
            done.revert()
            raise
        step = Step("exec", (), commits.now, request.client, done.changes)
        return commits.commit(envelope, answer, step, self._keep, step)


_WHOLE: dict[str, Callable[..., Reply | bytes]] = {
    "undo": Execution._undo,
    "redo": Execution._redo,
    "save": Execution._save,
    "history": Execution._steps,
}
"""The functions of the tree as a whole, called at the empty path."""

_SIGNATURES = {name: inspect.signature(getattr(Root, name)) for name in _WHOLE}
"""What they take."""

"""Source that a server runs for a client, with `db` as the tree.

Rules this module keeps:

- Values go in and come out as copies, as on a wire: source holds no part of the tree.
- What it changes is collected as commands, which a record can hold; when it fails, all of that is
  taken back.
- Source can keep a path of `db` for later source, but between two runs the tree is closed to it:
  what is done then would be in no record.
"""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Callable
from typing import NamedTuple

from pyzdb.engine.transaction import Transaction
from pyzdb.errors import ExecRefused, LockError, SyncFailed
from pyzdb.paths import Path, Value
from pyzdb.protocol.commands import Command, Get
from pyzdb.protocol.requests import Write, commands_of, decode_request, encode_request
from pyzdb.proxy.root import Root
from pyzdb.values.tags import dumps, loads


class Ran(NamedTuple):
    """What came of source: all that it ``printed``, its traceback included, the ``commands`` that
    it did, and whether it ``failed``."""

    printed: str
    commands: tuple[Command, ...]
    failed: bool


class Interpreter:
    """Runs source in one namespace, and is the service behind the `db` in it.

    ``check`` is called with each command, and may raise.
    """

    def __init__(self, check: Callable[[Command], None]) -> None:
        self._check = check
        self._names: dict[str, Value] = {}
        self._transaction: Transaction | None = None
        self._commands: list[Command] = []

    def run(self, source: str, transaction: Transaction) -> Ran:
        """Run source, whose commands are done by way of the transaction. Raises SyncFailed."""
        failed = False
        self._transaction = transaction
        self._commands = []
        self._names["db"] = Root(self)  # source may have put something else there
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                try:
                    exec(compile(source, "<exec>", "exec"), self._names)
                except SyncFailed:
                    raise
                except BaseException as error:  # SystemExit too: the source is not the server
                    # Without the first entry, which is of this file. A name for the rest would be
                    # a ring: it leads back to this frame.
                    traceback.print_exception(
                        type(error), error, error.__traceback__ and error.__traceback__.tb_next
                    )
                    failed = True
                    transaction.revert()
                    self._commands.clear()
        finally:
            self._transaction = None
        # Python prints what no message can carry, a lone surrogate, as an error output shows it.
        text = printed.getvalue().encode(errors="backslashreplace").decode()
        return Ran(text, tuple(self._commands), failed)

    def fetch(self, index: Path) -> Value:
        return self.query(Command(index))

    def query(self, command: Command | Get) -> Value:
        transaction = self._running()
        request = Write(command.index, command.func, command.args, command.kwargs, version=2)
        message = encode_request(request)
        (done,) = commands_of(decode_request(message))
        self._check(done)
        before = len(transaction.changes)
        result = transaction.do(done)
        if len(transaction.changes) > before:
            # The values in the tree may be changed later, those of the record must not be.
            self._commands += commands_of(decode_request(message))
        return loads(dumps(result))

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Value]:
        transaction = self._running()
        savepoint, known = transaction.savepoint, len(self._commands)
        try:
            return [self.query(command) for command in commands]
        except BaseException:
            transaction.revert(savepoint)
            del self._commands[known:]
            raise

    def lock(self, timeout: float | None, lease: float | None) -> None:
        raise LockError("source that the server runs has the tree for itself")

    def unlock(self) -> None:
        raise LockError("source that the server runs has the tree for itself")

    def _running(self) -> Transaction:
        if self._transaction is None:
            raise ExecRefused("the tree is open to source of a client only while that is run")
        return self._transaction

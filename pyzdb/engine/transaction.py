"""Commands that are done as one: each is applied at once, and all can be taken back."""

from __future__ import annotations

from collections.abc import Callable

from pyzdb.engine.tree import EDITING, Tree
from pyzdb.errors import OperationError, QueryError
from pyzdb.operations.containers import own
from pyzdb.operations.edits import Change
from pyzdb.operations.order import Positions
from pyzdb.paths import Value
from pyzdb.protocol.commands import Command

Savepoint = tuple[int, bool]
"""How many changes there were, and whether the tree was plain."""


class Transaction:
    """The commands of one request.

    ``reserve`` is called before the first that writes, and may raise; ``plain`` (bool): their
    arguments are known to be of plain JSON types. ``begun`` tells whether one writes, ``changes``
    what they did, and ``only_fetched`` (bool) that each result is None or what a path holds.
    """

    def __init__(self, tree: Tree, reserve: Callable[[], None], plain: bool = False) -> None:
        self._tree = tree
        self._reserve = reserve
        self._plain = plain
        self._begin = (0, tree.plain)
        self._positions = Positions()
        self.begun = False
        self.only_fetched = True
        self.changes: list[Change] = []

    def do(self, command: Command) -> Value:
        """Do one command; the result may be a part of the tree."""
        tree = self._tree
        if tree.state is EDITING:
            raise OperationError("a command before this one was interrupted")
        value, operation = tree.operation(command)
        if operation is None or operation.kind == "read":
            return tree.read(command, value, operation)
        if not self.begun:
            self._reserve()
            self.begun = True
        try:
            return tree.write(
                command, value, operation, self._plain, self.changes, positions=self._positions
            )
        except BaseException:
            self._positions.clear()
            raise

    def all(self, commands: tuple[Command, ...]) -> list[Value]:
        """Do many commands: their results as they are in turn; an error has its number."""
        find = self._tree.find
        results: list[Value] = []
        try:
            for command in commands:
                if command.func is None:
                    result = find(command.index)
                else:
                    result = self.do(command)
                    if result is not None:
                        self.only_fetched = False
                if type(result) is dict or type(result) is list:
                    result = own(result)  # a later command may change what is in the tree
                results.append(result)
        except QueryError as error:
            error.command = len(results)
            error.args = (f"command {error.command}: {error}",)
            raise
        return results

    @property
    def savepoint(self) -> Savepoint:
        """What `revert` goes back to."""
        return len(self.changes), self._tree.plain

    def revert(self, savepoint: Savepoint | None = None) -> None:
        """Take back all changes, or those since a savepoint."""
        self._positions.clear()
        self._tree.take_back(self.changes, *(savepoint or self._begin))

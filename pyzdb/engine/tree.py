"""The tree: one dict of plain Python values, and the only place where commands meet it.

Rules this module keeps:

- A command either does all of its work or raises and changes nothing. While edits are made the
  tree is EDITING, and stays so when one is interrupted: nobody can tell what it is then. It is
  CHANGED, with all changes known, until they are kept or taken back, and SETTLED again then.
- What was done comes back as a list of changes (edits.py), which ``revert`` takes back and
  ``redo`` does again.
- No container is at two places of the tree.
- A path is resolved to the real keys: a negative index counts from the start, and a key after
  a slice leads into the list that was sliced. A write to a slice itself is refused, since a
  slice is a copy in Python too, and the write would be lost.
- What a write does is the same in every process that does it again.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from decimal import Context, DivisionByZero, InvalidOperation, Overflow, localcontext
from typing import Any

from pyzdb.errors import (
    OperationError,
    OperationNotAllowed,
    PathIndexError,
    PathKeyError,
    PathTypeError,
    PathValueError,
    PyzdbError,
    QueryError,
)
from pyzdb.operations import edits
from pyzdb.operations.containers import own
from pyzdb.operations.edits import Change, Edit, UndoRedo
from pyzdb.operations.order import Positions
from pyzdb.operations.table import TABLE, Operation
from pyzdb.paths import Key, Path, Value, key_text, path_text
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import Envelope
from pyzdb.values.plain import MAX_DEPTH, TAG, is_plain

_ARITHMETIC = Context(prec=28, traps=[DivisionByZero, InvalidOperation, Overflow])
"""How Decimals are computed: Python's default, whatever the process has made of its own."""

_AS_IT_IS: AbstractContextManager[Any] = nullcontext()

_OPERATORS = frozenset(
    name for functions in TABLE.values() for name in functions if name.startswith("__")
)
"""What Python writes as an operator: one that does not fit a value is a TypeError."""

LARGE = 4096
"""Bytes of a message from which on the size of a value is taken from it."""

SETTLED, CHANGED, EDITING = "settled", "changed", "editing"
"""The states of a tree."""

_TAKES_SLICE = frozenset({"__setitem__", "__delitem__"})

_SUBSCRIPTABLE = frozenset({dict, list, tuple, str, bytes})

_NO_KEY = "unhashable type: 'slice'"
"""A slice is not a key of a dict, though Python 3.12 and newer can hash it."""

_NAMED = re.compile(r"([\w.<>]+)((?:\(\)| expected).*)", re.DOTALL)
"""How Python begins an error about the arguments of a function."""

_RAISED: tuple[tuple[type[Exception], type[QueryError]], ...] = (
    (KeyError, PathKeyError),
    (IndexError, PathIndexError),
    (TypeError, PathTypeError),
    (ValueError, PathValueError),
)


def query_error(error: Exception, path: Path) -> PyzdbError:
    """The error of the package for what Python raised at a path."""
    if isinstance(error, PyzdbError):
        return error
    if isinstance(error, KeyError) and error.args and type(error.args[0]) is slice:
        error, text = TypeError(), _NO_KEY  # newer Pythons can hash a slice, and look for it
    elif isinstance(error, KeyError) and error.args and not isinstance(error.args[0], str):
        text = key_text(error.args[0])
    else:
        text = str(error) or type(error).__name__
    for kind, raised in _RAISED:
        if isinstance(error, kind):
            return raised(f"{path_text(path)}: {text}", path)
    return OperationError(f"{path_text(path)}: {type(error).__name__}: {text}", path)


class Tree:
    """One tree; ``root`` is its dict, ``plain`` is True while nothing but plain JSON types
    was ever written to it, ``state`` is SETTLED, CHANGED or EDITING."""

    __slots__ = ("plain", "root", "state")

    _apply = staticmethod(edits.apply)  # a tree with other edits is how a test plants a fault

    def __init__(self, root: dict[Key, Value] | None = None, plain: bool = True) -> None:
        self.root: dict[Key, Value] = {} if root is None else root
        self.plain = plain
        self.state = SETTLED

    def find(self, index: Path) -> Value:
        """Walk the index from the root by ``[key]``. Raises a QueryError with the path."""
        value: Value = self.root
        walked = 0
        try:
            for key in index:
                if type(value) not in _SUBSCRIPTABLE:
                    raise TypeError(f"{type(value).__name__!r} object is not subscriptable")
                value = value[key]
                walked += 1
        except Exception as error:
            # The path ends with the key that failed.
            raise query_error(error, index[: walked + 1]) from None
        return value

    def operation(self, command: Command) -> tuple[Value, Operation | None]:
        """What is at the command's path, and what its function does there (None: nothing).

        Raises a QueryError when the path or the function is not there.
        """
        value = self.find(command.index)
        args = command.args
        if args and type(args[0]) is slice and type(value) is dict:
            raise PathTypeError(f"{path_text(command.index)}: {_NO_KEY}", command.index)
        if command.func is None:
            return value, None
        known = TABLE.get(type(value), {}).get(command.func)
        if known is None:
            path = command.index
            if command.func in _OPERATORS:
                kind = type(value).__name__
                raise PathTypeError(
                    f"{path_text(path)}: {kind!r} does not support {command.func}", path
                )
            raise OperationNotAllowed(
                f"{path_text(path)}: {type(value).__name__!r} has no function {command.func!r}"
                " that may be called",
                path,
            )
        return value, known

    def read(self, command: Command, value: Value, operation: Operation | None) -> Value:
        """Do an operation that only reads."""
        if operation is None:
            return value
        try:
            return operation.call(value, *command.args, **command.kwargs)
        except Exception as error:
            raise query_error(_as_called(error, command, operation), command.place()) from None

    def write(
        self,
        command: Command,
        value: Value,
        operation: Operation,
        plain: bool,
        done: list[Change],
        envelope: Envelope | None = None,
        positions: Positions | None = None,
    ) -> Value:
        """Do an operation that writes, and return its result; the changes are added to ``done``.

        ``plain`` (bool): the arguments are known to be of plain JSON types. ``envelope``: what they
        came in, if nothing else came in it. ``positions``: those of the request, if it has more.
        """
        index = command.index
        args = command.args
        is_set = (
            command.func == "__setitem__"
            and type(value) is dict
            and not command.kwargs
            and len(args) == 2
        )
        if not (is_set and plain and envelope is not None and len(envelope.message) >= LARGE):
            envelope = None  # the size of a step must not depend on what the tree holds beside it
        try:
            if is_set and plain and self.plain:
                return self._set(command, value, done, envelope)
            if not plain:
                _refuse_slices(command)
            # A tree of plain JSON types holds no Decimal.
            with _AS_IT_IS if plain and self.plain else localcontext(_ARITHMETIC):
                if operation.kind == "write":
                    path, container = self._resolve(index), value
                    result, pairs = operation.call(value, *args, **command.kwargs)
                else:
                    path = self._resolve(index[:-1])
                    container, key = self._container(path), index[-1]
                    if type(container) is not dict and type(container) is not list:
                        kind = type(container).__name__
                        raise TypeError(f"{kind!r} object does not support item assignment")
                    new = own(operation.call(value, *args, **command.kwargs))
                    plain = plain and is_plain(new)
                    if type(container) is list and key < 0:
                        key += len(container)
                    result, pairs = None, [edits.replace(container, key, new)]
                if pairs:
                    pairs = _positioned(container, pairs, positions)
                    self._do(container, path, pairs, plain, done, envelope)
                return result
        except Exception as error:
            raise query_error(_as_called(error, command, operation), command.place()) from None

    def _set(
        self,
        command: Command,
        container: dict[Key, Value],
        done: list[Change],
        envelope: Envelope | None,
    ) -> None:
        """What `write` does for the commonest command of all, with fewer calls."""
        key, item = command.args
        path = self._resolve(command.index)
        undo, redo = edits.put(container, key, item)
        change = (path, undo, redo, _cost(undo, redo, MAX_DEPTH - 1 - len(path), True, envelope))
        plain = _keeps_plain((undo, redo))
        self.state = EDITING
        container[key] = item
        done.append(change)
        self.plain = plain
        self.state = CHANGED

    def _do(
        self,
        container: Value,
        path: Path,
        pairs: list[UndoRedo],
        plain: bool,
        done: list[Change],
        envelope: Envelope | None,
    ) -> None:
        depth_left = MAX_DEPTH - 1 - len(path)
        changes = [
            (path, undo, redo, _cost(undo, redo, depth_left, plain, envelope))
            for undo, redo in pairs
        ]
        plain = self.plain and plain and all(map(_keeps_plain, pairs))
        self.state = EDITING
        for _, redo in pairs:
            self._apply(container, redo)
        done += changes
        self.plain = plain
        self.state = CHANGED

    def take_back(self, done: list[Change], kept: int, plain: bool) -> None:
        """Take back all changes but the first ``kept``, and what the tree was then (``plain``).

        A tree that is EDITING is left so.
        """
        if self.state is CHANGED:
            self.state = EDITING
            self.revert(done[kept:])
            del done[kept:]
            self.plain = plain
            self.state = CHANGED if done else SETTLED

    def revert(self, changes: list[Change]) -> None:
        """Take back changes, the last first."""
        if len(changes) == 1:  # as most steps have
            self._apply(self._container(changes[0][0]), changes[0][1])
            return
        targets = ((self._container(path), undo) for path, undo, _, _ in reversed(changes))
        edits.apply_all(targets, self._apply)

    def redo(self, changes: list[Change]) -> None:
        """Do changes again that were taken back."""
        for path, _, redo, _ in changes:
            self._apply(self._container(path), redo)

    def _container(self, path: Path) -> Value:
        value: Value = self.root
        for key in path:
            value = value[key]
        return value

    def _resolve(self, index: Path) -> Path:
        """The path of real keys: no negative index and no slice in it."""
        for key in index:
            if type(key) is not str:
                break
        else:
            return index
        path: list[Value] = []
        value: Value = self.root
        sliced: range | None = None
        for key in index:
            kind = type(value)
            if kind is list or kind is tuple:
                among = range(len(value)) if sliced is None else sliced
                found: Value = among[key]
                if type(found) is range:
                    sliced = found
                    continue
                key = found
            sliced = None
            path.append(key)
            value = value[key]
        if sliced is not None:
            raise TypeError("a slice is a copy: a change of it would be lost")
        return tuple(path)


def _as_called(error: Exception, command: Command, operation: Operation) -> Exception:
    """An error about the arguments with the name that the caller knows, in place of our own."""
    named = _NAMED.match(str(error)) if type(error) is TypeError else None
    ours = (operation.call.__name__, command.func)
    if named is None or named[1].rpartition(".")[2] not in ours:
        return error
    return TypeError(f"{command.func}{named[2]}")


def _cost(undo: Edit, redo: Edit, depth_left: int, plain: bool, envelope: Envelope | None) -> int:
    if envelope is None:
        return edits.cost(undo, redo, depth_left, plain)
    return edits.cost_in(envelope.message, envelope.shape, redo[2], depth_left)


def _positioned(
    container: Value, pairs: list[UndoRedo], positions: Positions | None
) -> list[UndoRedo]:
    kind = pairs[0][1][0]
    if kind == "drop":
        return [edits.positioned(container, pairs[0][1][1], positions or Positions())]
    if kind == "clear" and positions is not None:
        positions.forget(container)
    return pairs


def _refuse_slices(command: Command) -> None:
    values = command.args[1:] if command.func in _TAKES_SLICE else command.args
    if any(type(value) is slice for value in values):
        raise TypeError("a slice cannot be stored")


def _keeps_plain(pair: UndoRedo) -> bool:
    """False for a new key that no plain JSON object has."""
    _, redo = pair
    return redo[0] != "add" or (type(redo[1]) is str and redo[1] != TAG)

"""The tree: one dict of plain Python values, and the only place where commands meet it.

Rules this module keeps:

- A command either does all of its work or raises and changes nothing.
- What was done comes back as a list of changes (edits.py), which ``revert`` takes back and
  ``redo`` does again.
- No container is at two places of the tree.
- A path is resolved to the real keys: a negative index counts from the start, and a key after
  a slice leads into the list that was sliced. A write to a slice itself is refused, since a
  slice is a copy in Python too, and the write would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyzdb import edits
from pyzdb.edits import Change, Pair
from pyzdb.errors import (
    OperationError,
    OperationNotAllowed,
    Path,
    PathIndexError,
    PathKeyError,
    PathTypeError,
    PathValueError,
    PyzdbError,
    QueryError,
    path_text,
)
from pyzdb.messages import Command
from pyzdb.operations import TABLE, Kind, Operation
from pyzdb.values import MAX_DEPTH, is_plain, too_deep

_SUBSCRIPTABLE = frozenset({dict, list, tuple, str, bytes})

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
    text = str(error) or type(error).__name__
    if isinstance(error, KeyError) and error.args and not isinstance(error.args[0], str):
        text = repr(error.args[0])
    for kind, own in _RAISED:
        if isinstance(error, kind):
            return own(f"{path_text(path)}: {text}", path)
    return OperationError(f"{path_text(path)}: {type(error).__name__}: {text}", path)


class Tree:
    """One tree; ``root`` is its dict, ``plain`` is True while nothing but plain JSON types
    was ever written to it."""

    __slots__ = ("plain", "root")

    def __init__(self, root: dict[Any, Any] | None = None, plain: bool = True) -> None:
        self.root: dict[Any, Any] = {} if root is None else root
        self.plain = plain

    def find(self, index: Path) -> Any:
        """Walk the index from the root by ``[key]``. Raises a QueryError with the path."""
        value: Any = self.root
        try:
            for key in index:
                if type(value) not in _SUBSCRIPTABLE:
                    raise TypeError(f"{type(value).__name__!r} object is not subscriptable")
                value = value[key]
        except Exception as error:
            raise self._missing(error, index) from None
        return value

    def operation(self, command: Command) -> tuple[Any, Operation | None]:
        """What is at the command's path, and what its function does there (None: nothing).

        Raises a QueryError when the path or the function is not there.
        """
        value = self.find(command.index)
        if command.func is None:
            return value, None
        known = TABLE.get(type(value), {}).get(command.func)
        if known is None:
            path = command.index
            raise OperationNotAllowed(
                f"{path_text(path)}: {type(value).__name__!r} has no function {command.func!r}"
                " that may be called",
                path,
            )
        return value, known

    def read(self, command: Command, value: Any, operation: Operation | None) -> Any:
        """Do an operation that only reads."""
        if operation is None:
            return value
        try:
            return operation.call(value, *command.args, **command.kwargs)
        except Exception as error:
            raise query_error(error, _path(command)) from None

    def write(
        self, command: Command, value: Any, operation: Operation, plain: bool
    ) -> tuple[Any, list[Change]]:
        """Do an operation that writes: its result and the changes.

        ``plain`` (bool): the arguments are known to be of plain JSON types.
        """
        index = command.index
        try:
            self._check(command)
            path = self._resolve(index)
            if operation.kind is Kind.REPLACE:
                if not path:
                    raise TypeError("the root of the tree cannot be replaced")
                new = operation.call(value, *command.args, **command.kwargs)
                plain = plain and is_plain(new)
                path, key = path[:-1], path[-1]
                container = self.find(path)
                if type(container) not in (dict, list):
                    raise TypeError(f"{type(container).__name__!r} object cannot be changed")
                result, pairs = None, [edits.replace(container, key, new)]
            else:
                container = value
                result, pairs = operation.call(value, *command.args, **command.kwargs)
        except Exception as error:
            raise query_error(error, _path(command)) from None
        if not plain:
            self.plain = False
        return result, self._do(container, path, pairs)

    def _do(self, container: Any, path: Path, pairs: Iterable[Pair]) -> list[Change]:
        changes = []
        for undo, redo in pairs:
            edits.apply(container, redo)
            changes.append((path, undo, redo))
        return changes

    def revert(self, changes: list[Change]) -> None:
        """Take back changes, the last first."""
        for path, undo, _ in reversed(changes):
            edits.apply(self._container(path), undo)

    def redo(self, changes: list[Change]) -> None:
        """Do changes again that were taken back."""
        for path, _, redo in changes:
            edits.apply(self._container(path), redo)

    def _container(self, path: Path) -> Any:
        value: Any = self.root
        for key in path:
            value = value[key]
        return value

    def _check(self, command: Command) -> None:
        """Refuse what cannot be stored: a tree that would be too deep."""
        room = MAX_DEPTH - len(command.index) - 1
        for value in (*command.args, *command.kwargs.values()):
            if too_deep(value, room):
                raise ValueError(f"the value would lie deeper than {MAX_DEPTH} levels")

    def _resolve(self, index: Path) -> Path:
        """The path of real keys: no negative index and no slice in it."""
        for key in index:
            if type(key) is not str:
                break
        else:
            return index
        path: list[Any] = []
        value: Any = self.root
        places: range | None = None
        for key in index:
            kind = type(value)
            if kind is list and (isinstance(key, int | slice)):
                among = range(len(value)) if places is None else places
                found = among[key]
                if isinstance(found, range):
                    places = found
                    continue
                key = found
            elif kind is not dict:
                raise TypeError(f"{kind.__name__!r} object cannot be changed")
            places = None
            path.append(key)
            value = value[key]
        if places is not None:
            raise TypeError("a slice is a copy: a change of it would be lost")
        return tuple(path)

    def _missing(self, error: Exception, index: Path) -> PyzdbError:
        """The error of a walk, with the path as far as the key that failed."""
        value: Any = self.root
        for place, key in enumerate(index):
            try:
                value = value[key]
            except Exception:
                return query_error(error, index[: place + 1])
        return query_error(error, index)


def _path(command: Command) -> Path:
    """Where a command's error is: at the key for the functions that take one."""
    if command.func in ("__getitem__", "__setitem__", "__delitem__") and command.args:
        return (*command.index, command.args[0])
    return command.index

"""Undo and redo of the whole tree, on undoable's UndoLog.

The log is the library's tree of steps and its walk over them. This subclass repairs what does
not work on Python 3 (a write after an undo raised, both ends were not guarded), bounds the
length, and logs changes whose target is a path, so that the tree stays plain and the log can
be pickled as builtins.

A step is one leaf of the log: what it was for, and what it changed (edits.py). A group, such as
a batch, is one step too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from undoable import UndoLog, observed_tree

from pyzdb.engine.tree import CHANGED, EDITING, Tree
from pyzdb.errors import HistoryError, PathValueError
from pyzdb.operations.edits import Change
from pyzdb.paths import Path, path_text

HISTORY_LIMIT = 10_000
"""Steps that can be undone unless the operator says otherwise."""

MAX_BYTES = 256_000_000
"""About the bytes that the steps may take, as edits.py counts them. This bounds the memory when
large values are stored again and again; the newest step is always kept."""


SLACK = 8
"""The log grows beyond its limit by an eighth before the oldest steps are dropped, all at once:
each time moves the whole list."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """Who did what: ``what`` (function), ``where`` (path), ``when`` (seconds since the
    epoch, UTC), ``who`` (client id), and the ``changes`` that this came to."""

    what: str
    where: Path
    when: float
    who: str
    changes: list[Change]

    def shown(self) -> dict[str, Any]:
        """The step as `history` answers with it."""
        return {
            "what": self.what,
            "where": path_text(self.where),
            "when": datetime.fromtimestamp(self.when, UTC),
            "who": self.who,
        }

    @property
    def name(self) -> tuple[Step, tuple[str], tuple[str]]:
        """What the library expects of a leaf: whose it is, how to undo it and how to redo it."""
        return self, _UNDO, _REDO


_UNDO, _REDO = ("undo",), ("redo",)


class History(UndoLog):  # type: ignore[misc]  # the library has no types
    """The steps of one tree, those done and those undone: at most ``limit`` (int) steps, and about
    ``max_bytes`` of them."""

    index: int  # the library's: -1 when nothing is undone, one less for each undone step

    def __init__(self, tree: Tree, limit: int, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._tree = tree
        self.limit = limit
        self._max_bytes = max_bytes
        # Beside the steps: the old ones lie cold in memory, and are dropped without a look.
        self._sizes: list[int] = []
        self._size = 0
        self._walked: list[Step] = []

    @property
    def done(self) -> int:
        """How many steps can be undone."""
        return min(len(self.root), self.limit) + self.index + 1

    @property
    def undone(self) -> int:
        """How many steps can be redone."""
        return -1 - self.index

    # The library calls a step an elem.
    def add(self, step: Step) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log one step that was just done; what was undone before it is forgotten."""
        if not step.changes:
            return
        if self.index != -1:
            self.clear_redo()
        self._append(step)
        if self._size > self._max_bytes or len(self.root) > self.limit + self.limit // SLACK:
            self.trim()

    def _append(self, step: Step) -> None:
        # The library's append calls observers, and here are none: the list's own is quicker.
        list.append(self.root, step)
        size = 0
        for change in step.changes:
            size += change[3]
        self._sizes.append(size)
        self._size += size

    def clear_redo(self) -> None:
        """Forget the steps that were undone."""
        # What waits beyond the limit to be dropped would be within it again.
        self.trim()
        self._forget(slice(len(self.root) + self.index + 1, None))
        self.index = -1

    def set_limit(self, limit: int) -> None:
        """Have at most ``limit`` steps from now on."""
        self.limit = limit
        self.trim()

    def trim(self) -> None:
        """Forget the steps beyond the limits: the oldest first, and then, since a step can only
        be redone after those before it, the last of those undone."""
        over = len(self.root) - self.limit
        if over > 0:
            undone = max(0, over - (len(self.root) - self.undone))
            self._forget(slice(0, over - undone))
            self._forget(slice(len(self.root) - undone, None))
            self.index += undone
        size, count = self._size, 0
        while size > self._max_bytes and count < self.done - 1:
            size -= self._sizes[count]
            count += 1
        if count:
            self._forget(slice(0, count))

    def _forget(self, places: slice) -> None:
        self._size -= sum(self._sizes[places])
        del self._sizes[places]
        # The library's own deletion expects one node and fails with a slice.
        list.__delitem__(self.root, places)

    def undo_steps(self, count: int) -> list[Change]:
        """Take back ``count`` steps, and return the changes that this came to. Raises
        HistoryError, and changes nothing, when there are fewer."""
        self._check(count, self.done, "undo")
        self._tree.state = EDITING
        steps = self._walk(self.undo, count)
        # All at once: each may have dropped a key of the same large dict.
        changes = [change for step in reversed(steps) for change in step.changes]
        self._tree.revert(changes)
        self._tree.state = CHANGED
        return [(path, redo, undo, size) for path, undo, redo, size in reversed(changes)]

    def redo_steps(self, count: int) -> list[Change]:
        """Do ``count`` undone steps again, and return their changes. Raises HistoryError like
        undo_steps."""
        self._check(count, self.undone, "redo")
        self._tree.state = EDITING
        changes = [change for step in self._walk(self.redo, count) for change in step.changes]
        self._tree.redo(changes)
        self._tree.state = CHANGED
        return changes

    def _walk(self, move: Callable[[], None], count: int) -> list[Step]:
        """Go over steps of the log, and return them."""
        walked: list[Step] = []
        self._walked = walked
        for _ in range(count):
            move()
        self._walked = []
        return walked

    def _check(self, count: int, there: int, what: str) -> None:
        if type(count) is not int or count < 1:
            raise PathValueError(f"{what} takes a number of steps, 1 or more, not {count!r}")
        if count > there:
            steps = {0: f"there is nothing to {what}", 1: f"there is only 1 step to {what}"}
            raise HistoryError(steps.get(there, f"there are only {there} steps to {what}"))

    def unredo_event(self, elem: Step, item: tuple[str]) -> None:
        """What the library's walk calls for each leaf that it undoes or redoes."""
        self._walked.append(elem)

    def steps(self, limit: int | None = None) -> list[Step]:
        """The steps that can be undone, the newest first, at most ``limit``."""
        if limit is not None and (type(limit) is not int or limit < 0):
            raise PathValueError(f"history takes a number of steps, not {limit!r}")
        newest = len(self.root) + self.index + 1
        done = self.root[newest - self.done : newest]
        return list(reversed(done))[:limit]

    def state(self) -> dict[str, Any]:
        """All of it as builtins, for a snapshot."""
        steps = [((s.what, s.where, s.when, s.who), s.changes) for s in self.root]
        return {"limit": self.limit, "index": self.index, "steps": steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the place of what ``state`` described."""
        self.root = self.undoroot = observed_tree("undo root")
        self._sizes.clear()
        self._size = 0
        for step, changes in state["steps"]:
            what, where, when, who = step
            self._append(Step(what, where, when, who, changes))
        self.limit, self.index = state["limit"], state["index"]
        if self.limit < 0 or not -1 - len(self.root) <= self.index < 0:
            raise ValueError(f"a history of {len(self.root)} steps is not at {self.index}")

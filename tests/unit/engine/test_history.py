"""Steps are undone and redone exactly, as many as the limits allow."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from undoable import UndoLog

from pyzdb.engine import history as history_module
from pyzdb.engine.history import History, Step
from pyzdb.engine.tree import Tree
from pyzdb.errors import HistoryError
from pyzdb.operations.edits import Change
from pyzdb.protocol.commands import Command


class Kept:
    """A tree with a history of what was written."""

    def __init__(self, limit: int = 100) -> None:
        self.tree = Tree()
        self.history = History(self.tree, limit)

    def write(self, func: str, *args: Any, index: tuple[Any, ...] = ()) -> list[Change]:
        command = Command(index, func, args)
        value, operation = self.tree.operation(command)
        assert operation is not None
        changes: list[Change] = []
        self.tree.write(command, value, operation, True, changes)
        self.history.add(Step(func, index, float(len(args)), "tester", changes))
        return changes

    def set(self, *values: Any) -> None:
        for value in values:
            self.write("__setitem__", "x", value)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_steps_are_undone_and_redone(kept: Kept) -> None:
    kept.set(1, 2, 3)
    kept.history.undo_steps(1)
    assert kept.tree.root == {"x": 2}
    kept.history.undo_steps(2)
    assert kept.tree.root == {}
    kept.history.redo_steps(3)
    assert kept.tree.root == {"x": 3}


def test_the_log_is_that_of_undoable(kept: Kept) -> None:
    assert isinstance(kept.history, UndoLog)
    kept.set(1)
    assert list(kept.history.pprint_string())


@pytest.mark.parametrize("count", [2, 3, 1000])
def test_too_many_steps_are_refused_and_none_is_undone(kept: Kept, count: int) -> None:
    kept.set(1)
    with pytest.raises(HistoryError, match="there is only 1 step to undo"):
        kept.history.undo_steps(count)
    assert kept.tree.root == {"x": 1}
    kept.history.undo_steps(1)
    with pytest.raises(HistoryError, match="there is only 1 step to redo"):
        kept.history.redo_steps(count)
    assert kept.tree.root == {}


def test_at_either_end_there_is_a_clear_error(kept: Kept) -> None:
    with pytest.raises(HistoryError, match="there is nothing to undo"):
        kept.history.undo_steps(1)
    kept.set(1)
    with pytest.raises(HistoryError, match="there is nothing to redo"):
        kept.history.redo_steps(1)


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "1", None])
def test_a_number_of_steps_is_a_positive_integer(kept: Kept, count: Any) -> None:
    kept.set(1)
    with pytest.raises(ValueError, match="1 or more"):
        kept.history.undo_steps(count)
    with pytest.raises(ValueError, match="1 or more"):
        kept.history.redo_steps(count)


def test_a_write_after_an_undo_drops_the_redo_branch(kept: Kept) -> None:
    kept.set(1, 2, 3)
    kept.history.undo_steps(2)
    kept.set(4)
    with pytest.raises(HistoryError):
        kept.history.redo_steps(1)
    kept.history.undo_steps(1)
    assert kept.tree.root == {"x": 1}


def test_what_changes_nothing_is_no_step(kept: Kept) -> None:
    kept.set(1)
    kept.history.undo_steps(1)
    assert kept.write("update") == []
    assert (kept.history.done, kept.history.undone) == (0, 1)


def test_several_changes_are_one_step(kept: Kept) -> None:
    kept.write("update", {"a": 1, "b": 2, "c": 3})
    assert kept.history.done == 1
    kept.history.undo_steps(1)
    assert kept.tree.root == {}


def test_the_oldest_steps_beyond_the_limit_are_forgotten() -> None:
    kept = Kept(limit=3)
    kept.set(1, 2, 3, 4, 5)
    assert kept.history.done == 3
    kept.history.undo_steps(3)
    assert kept.tree.root == {"x": 2}


def test_a_limit_of_nothing_keeps_nothing() -> None:
    kept = Kept(limit=0)
    kept.set(1, 2)
    assert kept.history.done == 0
    assert kept.history.state()["steps"] == []


@pytest.mark.parametrize(
    ("undone", "limit", "left"),
    [
        (0, 2, (2, 0)),
        (1, 2, (1, 1)),
        (2, 2, (0, 2)),
        (4, 2, (0, 2)),
        (4, 0, (0, 0)),
        (3, 9, (1, 3)),
    ],
)
def test_a_lower_limit_forgets_the_oldest_and_then_the_last_undone(
    kept: Kept, undone: int, limit: int, left: tuple[int, int]
) -> None:
    kept.set(1, 2, 3, 4)
    if undone:
        kept.history.undo_steps(undone)
    kept.history.limit = limit
    kept.history.trim()
    assert (kept.history.done, kept.history.undone) == left
    at = 4 - undone
    for _ in range(left[1]):
        kept.history.redo_steps(1)
        at += 1
        assert kept.tree.root == {"x": at}


def test_the_steps_are_listed_from_the_newest(kept: Kept) -> None:
    kept.set(1)
    kept.write("update", {"a": 1})
    kept.write("pop", "a")
    kept.history.undo_steps(1)
    assert [step.what for step in kept.history.steps()] == ["update", "__setitem__"]
    assert [step.what for step in kept.history.steps(1)] == ["update"]
    assert kept.history.steps(0) == []
    step = kept.history.steps()[0]
    assert (step.what, step.where, step.when, step.who) == ("update", (), 1.0, "tester")


@pytest.mark.parametrize("limit", [-1, True, 1.5, "1"])
def test_a_list_of_steps_takes_a_number(kept: Kept, limit: Any) -> None:
    with pytest.raises(ValueError, match="takes a number"):
        kept.history.steps(limit)


@pytest.mark.parametrize("undone", [0, 1, 3])
def test_all_of_it_survives_a_snapshot(kept: Kept, undone: int) -> None:
    kept.write("__setitem__", "l", [3, 1])
    kept.write("append", 2, index=("l",))
    kept.write("sort", index=("l",))
    if undone:
        kept.history.undo_steps(undone)
    saved = pickle.dumps((kept.tree.root, kept.history.state()))
    again = Kept()
    again.tree.root, state = pickle.loads(saved)
    again.history.restore(state)
    assert pickle.dumps((again.tree.root, again.history.state())) == saved
    assert (again.history.done, again.history.undone) == (3 - undone, undone)
    while again.history.done:
        again.history.undo_steps(1)
    assert again.tree.root == {}
    again.history.redo_steps(3)
    assert again.tree.root == {"l": [1, 2, 3]}


def test_large_steps_are_forgotten_before_the_memory_is_full(kept: Kept) -> None:
    large = history_module.MAX_BYTES // 4
    kept.set("first", *["x" * large] * 8)
    assert kept.history.done < 4
    kept.set("last")
    kept.history.undo_steps(1)
    assert kept.tree.root["x"] == "x" * large


def test_one_step_is_kept_however_large(kept: Kept) -> None:
    kept.set("x" * (history_module.MAX_BYTES + 1))
    assert kept.history.done == 1
    kept.history.undo_steps(1)
    assert kept.tree.root == {}
    kept.set(1, 2)
    assert kept.history.done == 2


def test_sorting_a_long_list_again_and_again_does_not_fill_the_memory(kept: Kept) -> None:
    kept.write("__setitem__", "l", list(range(300_000)))
    for _ in range(50):
        kept.write("sort", index=("l",))
        kept.write("reverse", index=("l",))
    held = [
        edit
        for _, changes in kept.history.state()["steps"]
        for _, undo, redo, _ in changes
        for edit in (undo, redo)
        if edit[0] == "order"
    ]
    assert 0 < len(held) * 300_000 * 8 <= history_module.MAX_BYTES


def test_steps_that_were_forgotten_do_not_come_back_after_an_undo() -> None:
    kept = Kept(limit=16)
    kept.set(*range(17))
    kept.history.undo_steps(5)
    kept.set("new")
    assert kept.history.done == 12
    kept.history.undo_steps(12)
    assert kept.tree.root == {"x": 0}

"""Commands meet the tree: paths, errors that change nothing, and what may lie where."""

from __future__ import annotations

import copy
import re
import warnings
from typing import Any

import pytest

from pyzdb.engine.tree import CHANGED, EDITING, SETTLED, Tree
from pyzdb.errors import (
    OperationError,
    OperationNotAllowed,
    PathIndexError,
    PathKeyError,
    PathTypeError,
    PathValueError,
    QueryError,
)
from pyzdb.operations.edits import Change
from pyzdb.operations.table import TABLE
from pyzdb.protocol.commands import Command
from pyzdb.values.plain import MAX_DEPTH, TAG
from pyzdb.values.tags import dumps, loads
from tests.support.strategies import nested, same


def call(tree: Tree, index: tuple[Any, ...], func: str | None, *args: Any, **named: Any) -> Any:
    """Do a command of plain arguments on a tree: its result, or for a write its changes."""
    command = Command(index, func, args, named)
    value, operation = tree.operation(command)
    if operation is None or operation.kind == "read":
        return tree.read(command, value, operation)
    changes: list[Change] = []
    tree.write(command, value, operation, True, changes)
    return changes


def write(tree: Tree, command: Command) -> None:
    """Do a command that writes, and whose arguments may be of any type."""
    value, operation = tree.operation(command)
    assert operation is not None
    tree.write(command, value, operation, False, [])


@pytest.fixture
def tree() -> Tree:
    return Tree(
        {
            "l": [1, [2], {"k": 3}],
            "t": ([1], 2),
            "s": "text",
            1: "one",
            (1, 2): [5],
            None: 0,
            "none": None,
        },
        plain=False,
    )


# --- paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "found"),
    [
        ((), "root"),
        (("l", 0), 1),
        (("l", -1, "k"), 3),
        (("l", True), [2]),
        (("l", slice(1, None), 0), [2]),
        (("l", slice(1, None), slice(1, None), 0, "k"), 3),
        (("t", 0, 0), 1),
        (("s", 1), "e"),
        (("s", slice(0, 2)), "te"),
        ((1.0,), "one"),
        ((True,), "one"),
        (((1, 2), 0), 5),
        ((None,), 0),
    ],
    ids=repr,
)
def test_a_path_leads_where_python_would_go(tree: Tree, index: Any, found: Any) -> None:
    assert same(tree.find(index), tree.root if found == "root" else found)


@pytest.mark.parametrize(
    ("index", "error", "path"),
    [
        (("no", "more"), PathKeyError, ("no",)),
        (("l", 9, 0), PathIndexError, ("l", 9)),
        (("l", 10**30), PathIndexError, ("l", 10**30)),
        (("l", "a", 0), PathTypeError, ("l", "a")),
        (("l", 0, 0), PathTypeError, ("l", 0, 0)),
        (([1],), PathTypeError, ([1],)),
        (("l", slice(None, None, 0)), PathValueError, ("l", slice(None, None, 0))),
        ((float("nan"),), PathKeyError, None),
    ],
    ids=repr,
)
def test_an_error_of_a_path_ends_with_the_key_that_failed(
    tree: Tree, index: Any, error: type[QueryError], path: Any
) -> None:
    with pytest.raises(error) as caught:
        tree.find(index)
    assert path is None or caught.value.path == path


@pytest.mark.parametrize(
    ("index", "func", "args", "at"),
    [
        (("l", -2), "append", (9,), ("l", 1)),
        (("l", slice(1, None), 0), "append", (9,), ("l", 1)),
        (("l", slice(None, None, -1), 1), "append", (9,), ("l", 1)),
        (("t", 0), "append", (9,), ("t", 0)),
        (("t", slice(0, 1), -1), "append", (9,), ("t", 0)),
        (("l", -3), "__iadd__", (9,), ("l",)),
        (((1, 2), -1), "__iadd__", (9,), ((1, 2),)),
    ],
    ids=repr,
)
def test_a_change_remembers_the_real_keys(
    tree: Tree, index: Any, func: str, args: Any, at: Any
) -> None:
    before = copy.deepcopy(tree.root)
    changes = call(tree, index, func, *args)
    assert [path for path, *_ in changes] == [at]
    assert not same(tree.root, before)
    tree.revert(changes)
    assert same(tree.root, before)


@pytest.mark.parametrize(
    ("index", "func", "args"),
    [
        (("l", slice(0, 2)), "append", (1,)),
        (("l", slice(0, 2)), "__setitem__", (0, 1)),
        (("l", slice(0, 2)), "__iadd__", ([1],)),
        (("l", slice(0, 2), 0), "__iadd__", (1,)),
    ],
    ids=repr,
)
def test_a_write_to_a_slice_is_refused(tree: Tree, index: Any, func: str, args: Any) -> None:
    before = copy.deepcopy(tree.root)
    with pytest.raises(PathTypeError, match="a slice is a copy"):
        call(tree, index, func, *args)
    assert same(tree.root, before)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "func", "args", "error"),
    [
        ((), "pop", ("no",), PathKeyError),
        ((), "__setitem__", ([1], 2), PathTypeError),
        ((), "__setitem__", ({}, 2), PathTypeError),
        ((), "__setitem__", (slice(0, 1), 2), PathTypeError),
        ((), "update", ([["a", 1], ["b"]],), PathValueError),
        ((), "update", ([["a", 1], [[], 2]],), PathTypeError),
        (("l",), "pop", (7,), PathIndexError),
        (("l",), "sort", (), PathTypeError),
        (("l",), "remove", (99,), PathValueError),
        (("l",), "append", (slice(0, 1),), PathTypeError),
        ((), "setdefault", ("x", slice(0, 1)), PathTypeError),
        (("t", 1), "__iadd__", (1,), PathTypeError),
        (("s", 0), "__iadd__", ("x",), PathTypeError),
        (("l", 0), "__ifloordiv__", (0,), OperationError),
        (("l", 0), "__iadd__", ("x",), PathTypeError),
        (("l", 0), "__len__", (), PathTypeError),
        (("none",), "__iadd__", (1,), PathTypeError),
        (("s",), "format", ("x",), OperationNotAllowed),
        (("s",), "__class__", (), OperationNotAllowed),
        (("s",), "_private", (), OperationNotAllowed),
    ],
    ids=repr,
)
def test_after_an_error_the_tree_is_as_before(
    tree: Tree, index: Any, func: str, args: Any, error: type[QueryError]
) -> None:
    before = copy.deepcopy(tree.root)
    command = Command(index, func, args)
    with pytest.raises(error):
        write(tree, command)
    assert same(tree.root, before)


class Grudging:
    """A key of a user's own type that can be looked at only so often."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __hash__(self) -> int:
        self.looks -= 1
        if self.looks < 0:
            raise ValueError("not again")
        return 7


@pytest.mark.parametrize("looks", range(1, 5))
def test_a_tree_whose_edits_were_interrupted_says_so(tree: Tree, looks: int) -> None:
    before = list(tree.root.items())
    command = Command((), "update", ([("new", 1), (Grudging(looks), 2), ("last", 3)],))
    try:
        write(tree, command)
    except PathValueError:
        assert tree.state is EDITING or (tree.state is SETTLED and [*tree.root.items()] == before)
    else:
        assert tree.state is CHANGED
        assert len(tree.root) == len(before) + 3


def test_what_was_changed_is_taken_back_and_the_tree_is_settled(tree: Tree) -> None:
    before = copy.deepcopy(tree.root)
    done = call(tree, (), "update", {"new": 1, "x": 2})
    tree.take_back(done, 0, True)
    assert same(tree.root, before)
    assert (done, tree.state) == ([], SETTLED)


# --- what lies where ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_the_tree_is_at_most_so_deep(kind: Any) -> None:
    tree = Tree(plain=False)
    call(tree, (), "__setitem__", "x", nested(MAX_DEPTH - 1, kind))
    with pytest.raises(PathValueError, match="deeper than 100 levels"):
        call(tree, (), "__setitem__", "y", nested(MAX_DEPTH, kind))
    call(tree, (), "__setitem__", "l", [[]])
    call(tree, ("l", 0), "extend", [nested(MAX_DEPTH - 3, kind)])
    with pytest.raises(PathValueError, match="deeper than 100 levels"):
        call(tree, ("l", 0), "extend", [nested(MAX_DEPTH - 2, kind)])
    assert list(tree.root) == ["x", "l"]


def test_a_key_cannot_lie_too_deep_either() -> None:
    tree = Tree({"d": {}}, plain=False)
    command = Command(("d",), "__setitem__", (nested(MAX_DEPTH - 1, tuple), 1))
    with pytest.raises(PathValueError, match="deeper than 100 levels"):
        write(tree, command)


@pytest.mark.parametrize(
    ("index", "func", "args"),
    [
        (("l",), "__imul__", (2,)),
        (("t",), "__imul__", (2,)),
        (("n",), "__imul__", ([[1]],)),
        (("t",), "__iadd__", (([1],),)),
    ],
    ids=repr,
)
def test_a_repeated_container_is_copied(index: Any, func: str, args: Any) -> None:
    tree = Tree({"l": [[1], ([2],)], "t": ([1], {"k": [2]}), "n": 3}, plain=False)
    call(tree, index, func, *args)
    seen: set[int] = set()

    def look(value: Any) -> None:
        if isinstance(value, list | dict):
            assert id(value) not in seen
            seen.add(id(value))
        if isinstance(value, list | dict | tuple):
            for child in value.values() if isinstance(value, dict) else value:
                look(child)

    look(tree.root)


@pytest.mark.parametrize(
    ("index", "func", "args", "plain"),
    [
        ((), "__setitem__", ("x", [1, {"a": None}]), True),
        ((), "__setitem__", (1, "x"), False),
        ((), "__setitem__", (None, "x"), False),
        ((), "__setitem__", (TAG, "x"), False),
        ((), "setdefault", (2, "x"), False),
        ((), "update", ([[3, "x"]],), False),
        ((), "__ior__", ([["a", "x"]],), True),
        (("n",), "__imul__", (1e308,), False),
        (("l", 0), "__imul__", (2,), True),
        (("l",), "extend", ("ab",), True),
    ],
    ids=repr,
)
def test_a_tree_knows_whether_it_is_of_plain_json_types(
    index: Any, func: str, args: Any, plain: bool
) -> None:
    tree = Tree({"n": 1e308, "l": [3]})
    call(tree, index, func, *args)
    assert tree.plain is plain


def test_undo_keeps_the_order_and_the_identity_of_keys() -> None:
    tree = Tree({"a": 1, True: 2, "b": 3, 2.0: 4}, plain=False)
    before = copy.deepcopy(tree.root)
    changes: list[Change] = []
    for func, args in (
        ("__setitem__", (1, "x")),
        ("pop", (1.0,)),
        ("__setitem__", (1, "y")),
        ("__delitem__", ("a",)),
        ("popitem", ()),
        ("update", ({"b": 5, "c": 6},)),
        ("clear", ()),
        ("setdefault", ("d", 7)),
    ):
        changes += call(tree, (), func, *args)
    after = copy.deepcopy(tree.root)
    tree.revert(changes)
    assert same(tree.root, before)
    tree.redo(changes)
    assert same(tree.root, after)


def test_a_nan_is_found_neither_at_once_nor_after_a_restart() -> None:
    tree = Tree(plain=False)
    for _ in range(2):
        call(tree, (), "__setitem__", loads(dumps(float("nan"))), 1)
    assert len(tree.root) == 2
    with pytest.raises(PathKeyError):
        tree.find((loads(dumps(float("nan"))),))


SAMPLES: list[Any] = [{"a": 1}, [1], (1,), "abc", b"abc", 3, 2.5, True, None, {1}, frozenset({1})]


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("count", [0, 9])
def test_wrong_arguments_are_told_by_the_name_of_the_function(value: Any, count: int) -> None:
    tree = Tree({"v": value})
    for func, operation in TABLE[type(value)].items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of ~True
                operation.call(value, *[1] * count)
        except TypeError:
            with pytest.raises(PathTypeError) as caught:
                call(tree, ("v",), func, *[1] * count)
            _, _, text = str(caught.value).partition(": ")
            named = re.match(r"([\w.<>]+)(\(\)| expected)", text)
            assert named is None or named[1] == func, text


def test_an_error_of_the_work_keeps_its_words() -> None:
    with pytest.raises(PathTypeError, match="'<' not supported"):
        call(Tree({"l": [1, "a"]}), ("l",), "sort")

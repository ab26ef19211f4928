"""Random commands, undo and redo on a tree beside the same on plain Python values.

After every step the tree must be what the model is, the order of keys included, and a tree and a
history that are made again from what a snapshot holds must be the same. A run with a planted
fault must fail.
"""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pyzdb.engine.history import History, Step
from pyzdb.engine.tree import Tree
from pyzdb.errors import HistoryError
from pyzdb.operations import edits
from pyzdb.operations.table import TABLE
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import Write, decode_request, encode_request
from tests.support.strategies import KEYS, VALUES, same

LIMIT = 8
"""Steps that the history keeps here: few, so that runs go beyond it."""

WRITES = sorted(
    (kind.__name__, func)
    for kind, functions in TABLE.items()
    for func, operation in functions.items()
    if operation.kind != "read"
)
FUNCTIONS = sorted({func for _, func in WRITES})
BY_KIND = {
    kind: [func for name, func in WRITES if name == kind] for kind in {kind for kind, _ in WRITES}
}

START = {"l": [3, 1, 4, 2], "d": {"a": 1, "b": [2, 1], "c": {}}, "t": (1, [2, 1]), 1: "x"}
"""What the tree begins with: something for every function."""

NUMBERS = st.integers(-6, 6)
SLICES = st.builds(slice, *[st.none() | NUMBERS] * 3)
SMALL_KEYS = st.sampled_from(["a", "b", "c", 0, 1, True, 1.0, None, (1, "a")]) | KEYS
ITEMS = st.one_of(
    NUMBERS,
    st.sampled_from(["", "x", "abc", (1, [2]), ([],), {"a": [1]}, [[1], [2]], {"k", 2}]),
    VALUES,
)
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "__setitem__": st.tuples(SMALL_KEYS | NUMBERS, ITEMS) | st.tuples(SLICES, st.lists(ITEMS)),
    "__delitem__": st.tuples(SMALL_KEYS | NUMBERS | SLICES),
    "setdefault": st.tuples(SMALL_KEYS) | st.tuples(SMALL_KEYS, ITEMS),
    "insert": st.tuples(NUMBERS, ITEMS),
    "update": st.tuples(st.dictionaries(SMALL_KEYS, ITEMS, max_size=4)),
    "__ior__": st.tuples(st.dictionaries(SMALL_KEYS, ITEMS, max_size=4) | st.sets(KEYS)),
    "extend": st.tuples(st.lists(ITEMS, max_size=4)),
    "__iadd__": st.tuples(st.lists(ITEMS, max_size=3) | st.tuples(ITEMS) | NUMBERS | st.text()),
    "__imul__": st.tuples(st.integers(-1, 3)),
    "__ilshift__": st.tuples(st.integers(0, 8)),
    "__ipow__": st.tuples(st.integers(0, 3)),
    "pop": st.tuples() | st.tuples(SMALL_KEYS | NUMBERS) | st.tuples(SMALL_KEYS, ITEMS),
    "append": st.tuples(ITEMS),
    "remove": st.tuples(ITEMS),
    **{name: st.tuples() for name in ("clear", "popitem", "reverse", "sort")},
}
"""What each function is called with most of the time; a few calls take anything."""


REFUSED = (
    "too large",
    "deeper than",
    "does not support",
    "that may be called",
    "not a real number",
    "slice cannot be stored",
)
"""Words of the errors for what Python does and a tree does not."""

ITERATED = ("extend", "__iadd__", "update", "__ior__", "__setitem__")


def ordered(value: Any) -> Any:
    """A value with lists for sets, whose items come in another order in Python."""
    if isinstance(value, set | frozenset):
        return [ordered(item) for item in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return type(value)(ordered(item) for item in value)
    return value


def sent(command: Command) -> Command:
    """The command as the other side of a wire gets it: nothing in it is shared or the same."""
    request = Write(command.index, command.func, command.args, command.kwargs, version=2)
    arrived: Command = decode_request(encode_request(request)).single()
    return arrived


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every path of a tree, and what is there."""
    found = [(path, value)]
    if isinstance(value, dict):
        children: Any = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    else:
        return found
    for key, child in children:
        found += places(child, (*path, key))
    return found


def in_python(root: dict[str, Any], command: Command) -> None:
    """Do a command on plain values with Python's own statements."""
    parent: Any = None
    target: Any = root
    for key in command.index:
        parent, target = target, target[key]
    func, args = str(command.func), command.args
    if type(target) is dict and args and type(args[0]) is slice:
        raise TypeError("a slice is not a key, in older Pythons")
    if func in PYTHON:
        result = PYTHON[func](target, *args)
        if func.startswith("__i") and type(target) not in (dict, list):
            parent[command.index[-1]] = result
    else:
        getattr(target, func)(*args)


def failing(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What a call returned, or what it raised."""
    try:
        return call(), None
    except Exception as error:
        return None, error


PYTHON: dict[str, Callable[..., Any]] = {
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__iadd__": operator.iadd,
    "__isub__": operator.isub,
    "__imul__": operator.imul,
    "__itruediv__": operator.itruediv,
    "__ifloordiv__": operator.ifloordiv,
    "__imod__": operator.imod,
    "__ipow__": operator.ipow,
    "__iand__": operator.iand,
    "__ior__": operator.ior,
    "__ixor__": operator.ixor,
    "__ilshift__": operator.ilshift,
    "__irshift__": operator.irshift,
}


class Comparison(RuleBasedStateMachine):
    """One tree with its history, and the states that a plain model went through."""

    functions: ClassVar[tuple[str, ...]] = ()
    """The only functions that are called on a dict or list; none: all."""

    new_tree: ClassVar[type[Tree]] = Tree

    def __init__(self) -> None:
        super().__init__()
        self.tree = self.new_tree()
        self.history = History(self.tree, LIMIT)
        self.model: dict[Any, Any] = {}
        self.past: list[dict[Any, Any]] = []
        self.future: list[dict[Any, Any]] = []

    def write(self, command: Command) -> list[edits.Change]:
        """Do a command on both: the tree takes it, or raises, as Python does."""
        after = copy.deepcopy(self.model)
        changes, ours = failing(lambda: self.change(sent(command)))
        if any(reason in str(ours) for reason in REFUSED):
            return []
        _, theirs = failing(lambda: in_python(after, sent(command)))
        assert (ours is None) == (theirs is None), (ours, theirs)
        for kind in (KeyError, IndexError, TypeError, ValueError):
            assert isinstance(ours, kind) == isinstance(theirs, kind), (ours, theirs)
        if ours is None:
            self.model = unshared(after)
        return changes or []

    def change(self, command: Command) -> list[edits.Change]:
        value, operation = self.tree.operation(command)
        assert operation is not None
        changes: list[edits.Change] = []
        self.tree.write(command, value, operation, False, changes)
        return changes

    def log(self, before: dict[Any, Any], changes: list[edits.Change]) -> None:
        self.history.add(Step("test", (), 0.0, "tester", changes))
        if changes:
            self.past = [*self.past, before][-LIMIT:]
            self.future = []

    def draw(self, data: st.DataObject) -> Command:
        found = [(path, value) for path, value in places(self.model) if type(value) in TABLE]
        path, value = data.draw(st.sampled_from(found))
        if self.functions or data.draw(st.integers(0, 3)) == 0:
            containers = [pair for pair in found if type(pair[1]) in (dict, list)]
            path, value = data.draw(st.sampled_from(containers))
        own = BY_KIND.get(type(value).__name__, FUNCTIONS)
        common = own if data.draw(st.integers(0, 9)) else FUNCTIONS
        func = data.draw(st.sampled_from(self.functions or common))
        strategy = ARGUMENTS.get(func, st.tuples(ITEMS))
        if data.draw(st.integers(0, 9)) == 0:
            strategy = st.lists(ITEMS, max_size=2).map(tuple)
        args = data.draw(strategy)
        if args and type(value) in (dict, list) and func in ITERATED:
            args = (*args[:-1], ordered(args[-1]))
        return Command(path, func, args)

    @initialize()
    def begin(self) -> None:
        self.log(self.model, self.write(Command((), "update", (START,))))

    @rule(data=st.data())
    def command(self, data: st.DataObject) -> None:
        before = self.model
        self.log(before, self.write(self.draw(data)))

    @rule(data=st.data(), count=st.integers(2, 4))
    def group(self, data: st.DataObject, count: int) -> None:
        before = self.model
        changes: list[edits.Change] = []
        for _ in range(count):
            changes += self.write(self.draw(data))
        self.log(before, changes)

    @rule(data=st.data())
    def failing_group(self, data: st.DataObject) -> None:
        before = copy.deepcopy(self.model)
        changes = self.write(self.draw(data)) + self.write(self.draw(data))
        self.tree.revert(changes)
        self.model = before

    @rule(count=st.integers(1, 4))
    def undo(self, count: int) -> None:
        if count > len(self.past):
            with pytest.raises(HistoryError):
                self.history.undo_steps(count)
            return
        self.history.undo_steps(count)
        for _ in range(count):
            self.future.append(self.model)
            self.model = self.past.pop()

    @rule(count=st.integers(1, 4))
    def redo(self, count: int) -> None:
        if count > len(self.future):
            with pytest.raises(HistoryError):
                self.history.redo_steps(count)
            return
        self.history.redo_steps(count)
        for _ in range(count):
            self.past.append(self.model)
            self.model = self.future.pop()

    @rule()
    def restart(self) -> None:
        """Go on with what a snapshot would hold."""
        saved = pickle.dumps((self.tree.root, self.history.state()), protocol=5)
        root, state = pickle.loads(saved)
        self.tree = self.new_tree(root, plain=False)
        self.history = History(self.tree, 0)
        self.history.restore(state)
        assert pickle.dumps(self.history.state()) == pickle.dumps(state)

    @invariant()
    def the_tree_is_the_model(self) -> None:
        assert same(self.tree.root, self.model)

    @invariant()
    def the_history_is_as_long_as_the_past(self) -> None:
        assert self.history.done == len(self.past)
        assert self.history.undone == len(self.future)

    @invariant()
    def no_container_is_at_two_places(self) -> None:
        containers = [
            id(value) for _, value in places(self.tree.root) if isinstance(value, dict | list)
        ]
        assert len(containers) == len(set(containers))


def unshared(value: Any) -> Any:
    """A copy in which nothing that can be changed stands twice."""
    if isinstance(value, dict):
        return {key: unshared(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(unshared, value))
    return set(value) if isinstance(value, set) else value


TestComparison = Comparison.TestCase


def _add_at_the_end(container: dict[Any, Any], key: Any, value: Any, place: int | None) -> None:
    container[key] = value


def _keep(container: dict[Any, Any], key: Any) -> None:
    """Forget to drop."""


def _splice_too_little(container: list[Any], start: int, count: int, items: list[Any]) -> None:
    container[start : start + max(0, count - 1)] = items


def _order_nothing(container: list[Any], items: list[Any]) -> None:
    """Forget to put in order."""


def _weave_at_the_end(
    container: list[Any], start: int, stop: int, step: int, items: list[Any]
) -> None:
    container.extend(items)


FAULTS: dict[str, tuple[Callable[..., None], str]] = {
    "add": (_add_at_the_end, "__delitem__"),
    "drop": (_keep, "setdefault"),
    "splice": (_splice_too_little, "pop"),
    "order": (_order_nothing, "sort"),
    "weave": (_weave_at_the_end, "__delitem__"),
}
"""A broken edit, and the function that needs it."""


@pytest.mark.parametrize("name", FAULTS)
def test_the_comparison_notices_a_planted_fault(name: str) -> None:
    fault, func = FAULTS[name]

    class FaultyTree(Tree):
        @staticmethod
        def _apply(container: Any, edit: edits.Edit) -> None:
            if edit[0] == name:
                fault(container, *edit[1:])
            else:
                edits.apply(container, edit)

    class Faulty(Comparison):
        functions = (func,)
        new_tree = FaultyTree

    # The same examples every time, as many as are needed.
    found_soon = settings(
        max_examples=2000, stateful_step_count=20, derandomize=True, phases=[Phase.generate]
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Faulty, settings=found_soon)

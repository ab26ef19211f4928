"""The keys of a dict come back in their order, however many are dropped, added and brought back."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.engine.history import History, Step
from pyzdb.engine.transaction import Transaction
from pyzdb.engine.tree import Tree
from pyzdb.errors import QueryError
from pyzdb.operations.edits import Change
from pyzdb.operations.order import Positions, Slots
from pyzdb.protocol.commands import Command
from tests.support.strategies import same

NAN, OTHER_NAN = float("nan"), float("nan")

KEYS = st.sampled_from(["a", "b", "c", 0, 1, True, 1.0, 2, 3, 4, (1, 2), None, NAN, OTHER_NAN])
DICTS = st.sampled_from([("x",), ("y",), ("y", "inner")])
REMOVING = st.sampled_from(["__delitem__", "pop"])
ADDING = st.sampled_from(["__setitem__", "setdefault"])
COMMANDS = st.lists(
    st.one_of(
        st.builds(lambda at, func, key: (at, func, key), DICTS, REMOVING, KEYS),
        st.builds(lambda at, func, key: (at, func, key, 0), DICTS, ADDING, KEYS),
        st.tuples(DICTS, st.just("popitem")),
        st.builds(lambda at, key: (at, "update", {key: 5, "c": 6, 9: 7}), DICTS, KEYS),
        st.tuples(DICTS, st.just("clear")),
        st.tuples(st.just(("y",)), st.just("__setitem__"), st.just("inner"), st.just({8: 8, 7: 7})),
    ),
    max_size=60,
)


def command(at: tuple[Any, ...], func: str, *args: Any, own_keys: bool) -> Command:
    """``own_keys``: a NaN is a new one, as in each message, which no later command finds."""
    return Command(at, func, pickle.loads(pickle.dumps(args)) if own_keys else copy.deepcopy(args))


def shown(root: Any) -> Any:
    """The whole tree with the order and the types of its keys."""
    if type(root) is not dict:
        return repr(root)
    return [(repr(key), shown(value)) for key, value in root.items()]


@given(commands=COMMANDS, kept=st.integers(0, 60), pickled=st.booleans())
def test_all_changes_of_a_request_are_taken_back_and_done_again(
    commands: list[Any], kept: int, pickled: bool
) -> None:
    tree = Tree(
        {"x": dict.fromkeys([1, "a", NAN, 3]), "y": {"b": 0, "inner": dict.fromkeys(range(20))}},
        plain=False,
    )
    transaction = Transaction(tree, lambda: None)
    seen: dict[int, Any] = {0: shown(tree.root)}
    for each in commands:
        try:
            transaction.do(command(*each, own_keys=pickled))
        except QueryError:
            assert shown(tree.root) == seen[len(transaction.changes)]
        seen[len(transaction.changes)] = shown(tree.root)
    changes = transaction.changes
    if pickled:
        tree.root, changes = pickle.loads(pickle.dumps((tree.root, changes)))
    after = shown(tree.root)
    some = sorted(seen)[min(kept, len(seen) - 1)]
    tree.revert(changes[some:])
    assert shown(tree.root) == seen[some]
    tree.redo(changes[some:])
    assert shown(tree.root) == after
    tree.revert(changes)
    assert shown(tree.root) == seen[0]
    tree.redo(changes)
    assert shown(tree.root) == after


@pytest.mark.parametrize("step", [1, -1, 7919])
def test_many_keys_that_are_dropped_in_one_request_come_back_in_order(step: int) -> None:
    size = 30_000
    before = {f"key {number}": number for number in range(size)}
    tree = Tree({"d": dict(before)})
    order = [f"key {number * step % size}" for number in range(20_000)]
    transaction = Transaction(tree, lambda: None, plain=True)
    transaction.all(tuple(Command(("d",), "__delitem__", (key,)) for key in order))
    assert same(tree.root["d"], {key: before[key] for key in before if key in tree.root["d"]})
    assert len(tree.root["d"]) == 10_000
    tree.revert(transaction.changes)
    assert same(tree.root["d"], before)


def test_many_steps_that_dropped_keys_of_one_dict_are_undone_at_once() -> None:
    before = {f"key {number}": number for number in range(30_000)}
    tree = Tree({"d": dict(before)})
    history = History(tree, 10_000)
    for number in range(5_000):
        transaction = Transaction(tree, lambda: None, plain=True)
        transaction.do(Command(("d",), "__delitem__", (f"key {number}",)))
        history.add(Step("__delitem__", ("d",), 0.0, "me", transaction.changes))
    history.undo_steps(5_000)
    assert same(tree.root["d"], before)
    history.redo_steps(4_999)
    assert next(iter(tree.root["d"])) == "key 4999"


def test_after_a_failed_command_the_places_are_found_anew() -> None:
    tree = Tree({"d": dict.fromkeys(map(str, range(10)))})
    before = shown(tree.root)
    transaction = Transaction(tree, lambda: None, plain=True)
    changes: list[Change] = transaction.changes
    for number in range(7):
        transaction.do(Command(("d",), "__delitem__", (str(number),)))
        savepoint = transaction.savepoint
        transaction.do(Command(("d",), "__delitem__", (str(number + 1),)))
        transaction.do(Command(("d",), "__setitem__", (str(number), 1)))
        transaction.revert(savepoint)
        with pytest.raises(QueryError):
            transaction.do(Command(("d",), "__delitem__", (str(number),)))
    tree.revert(changes)
    assert shown(tree.root) == before


@given(
    size=st.integers(1, 40),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), max_size=50),
)
def test_slots_count_and_find_the_free_ones(size: int, moves: list[tuple[bool, int]]) -> None:
    slots, free, end = Slots(size), list(range(size)), size
    for grow, number in moves:
        if grow or not free:
            slots.append()
            free.append(end)
            end += 1
        else:
            slots.take(free.pop(number % len(free)))
        assert [slots.free_before(slot) for slot in free] == list(range(len(free)))
        assert [slots.find(before) for before in range(len(free))] == free


def test_a_dropped_key_is_told_as_it_was_stored() -> None:
    container = dict.fromkeys([0, 1, True, 2, "last"])
    positions = Positions()
    for _ in range(40):
        stored, position = positions.take(container, True)
        assert (stored, type(stored)) == (1, int)
        assert position is not None
        assert list(container)[position] == 1
        del container[True]
        stored, position = positions.take(container, next(reversed(container)))
        assert position is None
        container.popitem()
        container.update({1: None, "last": None})

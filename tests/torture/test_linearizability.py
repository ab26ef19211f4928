"""The checker of histories, beside one that simply tries every order."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torture.linearizability import (
    COUNTER,
    EMPTY,
    LIST,
    REGISTER,
    Model,
    Operation,
    misfit,
    misfits,
)

ACTIONS = {
    REGISTER: ("read", "write"),
    COUNTER: ("read", "add"),
    LIST: ("read", "append", "pop"),
}


def operation(
    action: str, argument: Any, called: int, returned: int | None, result: Any = None
) -> Operation:
    return Operation("k", action, argument, called, returned, result)


def some_order_fits(operations: list[Operation], model: Model, state: Any) -> bool:
    """Try every order that the times allow."""
    if all(one.returned is None for one in operations):
        return True
    for place, one in enumerate(operations):
        others = operations[:place] + operations[place + 1 :]
        if any(other.returned is not None and other.returned < one.called for other in others):
            continue
        after, result = model.step(state, one.action, one.argument)
        if (one.returned is None or result == one.result) and some_order_fits(others, model, after):
            return True
    return False


class Drawn(NamedTuple):
    model: Model
    operations: list[Operation]


@st.composite
def real_histories(draw: st.DrawFn, most: int = 40) -> Drawn:
    """What clients see of one copy that does one operation at a time."""
    model = draw(st.sampled_from(list(ACTIONS)))
    state = model.initial
    operations = []
    for moment in range(draw(st.integers(1, most))):
        action = draw(st.sampled_from(ACTIONS[model]))
        argument = draw(st.integers(1, 3))
        called = moment - draw(st.integers(0, 4))
        returned = moment + draw(st.integers(0, 4))
        outcome = draw(st.sampled_from(["known"] * 8 + ["done", "not done"]))
        after, result = model.step(state, action, argument)
        if outcome != "not done":
            state = after
        if outcome == "known":
            operations.append(operation(action, argument, called, returned, result))
        else:
            operations.append(operation(action, argument, called, None))
    return Drawn(model, draw(st.permutations(operations)))


@st.composite
def invented_histories(draw: st.DrawFn) -> Drawn:
    """A short real history of which one result, or one operation, is not what it was."""
    model, operations = draw(real_histories(most=6))
    place = draw(st.integers(0, len(operations) - 1))
    one = operations[place]
    change = draw(st.sampled_from(["result", "loss", "copy"]))
    if change == "loss":
        del operations[place]
    elif change == "copy":
        operations.append(one)
    else:
        value = draw(st.integers(0, 6))
        values = (tuple(draw(st.lists(st.integers(1, 3), max_size=4))), value, EMPTY)
        operations[place] = one._replace(result=values[0] if model is LIST else value)
    return Drawn(model, operations)


@given(real_histories())
@settings(max_examples=300)
def test_what_one_copy_really_did_is_accepted(drawn: Drawn) -> None:
    assert misfit(drawn.operations, drawn.model) is None


@given(invented_histories())
@settings(max_examples=600)
def test_the_verdict_is_that_of_trying_every_order(drawn: Drawn) -> None:
    fits = some_order_fits(drawn.operations, drawn.model, drawn.model.initial)
    assert (misfit(drawn.operations, drawn.model) is None) == fits


def test_a_read_of_what_was_overwritten_before_it_is_rejected() -> None:
    stale = operation("read", None, 4, 5, 1)
    history = [operation("write", 1, 0, 1), operation("write", 2, 2, 3), stale]
    assert misfit(history, REGISTER) == stale


def test_overlapping_writes_may_end_in_either_order() -> None:
    for last in (1, 2):
        history = [operation("write", 1, 0, 3), operation("write", 2, 1, 2)]
        assert misfit([*history, operation("read", None, 4, 5, last)], REGISTER) is None


def test_an_unknown_write_may_take_effect_late_but_only_once() -> None:
    late = operation("add", 5, 0, None)
    before = operation("read", None, 1, 2, 0)
    after = operation("read", None, 3, 4, 5)
    assert misfit([late, before, after], COUNTER) is None
    twice = operation("read", None, 5, 6, 10)
    assert misfit([late, before, after, twice], COUNTER) == twice


def test_an_unknown_write_may_not_be_taken_back() -> None:
    history = [
        operation("append", 7, 0, None),
        operation("read", None, 1, 2, (7,)),
        operation("read", None, 3, 4, ()),
    ]
    assert misfit(history, LIST) == history[2]


def test_each_key_is_checked_by_itself() -> None:
    history = [
        Operation("good", "write", 1, 0, 1, None),
        Operation("bad", "write", 1, 0, 1, None),
        Operation("good", "read", None, 2, 3, 1),
        Operation("bad", "read", None, 2, 3, 0),
    ]
    assert misfits(history, {"good": REGISTER, "bad": REGISTER}) == {"bad": history[3]}


@pytest.mark.parametrize("model", ACTIONS)
def test_a_long_history_with_unknown_outcomes_is_decided(model: Model) -> None:
    """Thousands of overlapping operations, of which some have no known outcome."""
    state = model.initial
    history = []
    for moment in range(1000):
        action = ACTIONS[model][moment % len(ACTIONS[model])]
        argument = {"add": 1, "write": moment, "append": moment}.get(action)
        after, result = model.step(state, action, argument)
        if moment % 100 != 50:
            state = after
        returned = None if moment % 50 == 0 else moment + 3
        history.append(operation(action, argument, moment - 3, returned, result))
    assert misfit(history, model) is None
    history.append(operation("read", None, 1100, 1101, -1))
    assert misfit(history, model) == history[-1]

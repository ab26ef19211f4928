"""Each edit is taken back exactly by its partner, and its size is counted."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.operations import edits
from pyzdb.operations.edits import UndoRedo
from pyzdb.operations.order import Positions
from pyzdb.values import Custom
from pyzdb.values.plain import VALUE_SIZE, size_of
from tests.support.strategies import VALUES, nested, same

DICTS = st.dictionaries(st.integers(0, 9) | st.text(max_size=2), st.integers(), min_size=1)
LISTS = st.lists(st.integers(0, 5), max_size=8)


def there_and_back(container: Any, pair: UndoRedo) -> Any:
    """Do a pair of edits twice, with the way back between, and return what they make."""
    undo, redo = pair
    before = copy.deepcopy(container)
    edits.apply(container, redo)
    after = copy.deepcopy(container)
    edits.apply(container, undo)
    assert same(container, before)
    edits.apply(container, redo)
    assert same(container, after)
    return after


@given(container=DICTS, data=st.data())
def test_a_dropped_key_comes_back_in_its_place(container: Any, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(list(container)))
    after = there_and_back(container, edits.positioned(container, key, Positions()))
    assert key not in after


def test_a_dropped_key_comes_back_as_it_was_stored() -> None:
    container = {"a": 1, True: 2, "b": 3}
    edits_of_drop = edits.positioned(container, 1.0, Positions())
    assert there_and_back(container, edits_of_drop) == {"a": 1, "b": 3}
    edits.apply(container, edits_of_drop[0])
    assert [type(key) for key in container] == [str, bool, str]


@given(container=DICTS, key=st.integers(0, 9), value=st.integers())
def test_a_put_value_is_there_and_goes_away(container: Any, key: int, value: int) -> None:
    assert there_and_back(container, edits.put(container, key, value))[key] == value


@given(container=DICTS)
def test_a_cleared_dict_comes_back_in_order(container: Any) -> None:
    assert there_and_back(container, edits.clear(container)) == {}


@given(container=LISTS, start=st.integers(0, 8), count=st.integers(0, 8), items=LISTS)
def test_a_splice_does_what_a_slice_does(
    container: Any, start: int, count: int, items: Any
) -> None:
    start = min(start, len(container))
    expected = container[:]
    expected[start : start + count] = items
    assert there_and_back(container, edits.splice(container, start, count, items)) == expected


@given(container=LISTS, indexes=st.builds(slice, *[st.none() | st.integers(-9, 9)] * 3))
def test_a_cut_does_what_deleting_a_slice_does(container: Any, indexes: slice) -> None:
    if indexes.step == 0:
        return
    expected = container[:]
    del expected[indexes]
    pair = edits.cut(container, range(*indexes.indices(len(container))))
    assert there_and_back(container, pair) == expected


@given(container=LISTS)
def test_another_order_is_taken_back(container: Any) -> None:
    assert there_and_back(container, edits.order(container, sorted(container))) == sorted(container)
    assert there_and_back(container, edits.REVERSE) == sorted(container, reverse=True)


def test_a_key_that_equals_nothing_goes_away_after_a_restart_too() -> None:
    container: dict[Any, Any] = {"a": 1}
    undo, redo = edits.put(container, float("nan"), 2)
    edits.apply(container, redo)
    again, undo = pickle.loads(pickle.dumps((container, undo)))
    edits.apply(again, undo)
    assert again == {"a": 1}


def test_dropping_the_last_keys_one_by_one_leaves_no_holes() -> None:
    container = dict.fromkeys(range(50_000))
    size = container.__sizeof__()
    for key in range(49_999, 10, -1):
        edits.apply(container, edits.positioned(container, key, Positions())[1])
    for key in range(11, 50_000):
        edits.apply(container, edits.put(container, key, None)[1])
    assert list(container) == list(range(50_000))
    assert container.__sizeof__() == size


# --- size and depth ----------------------------------------------------------------------------


@given(value=VALUES)
def test_the_size_of_a_value_is_that_of_its_copy(value: Any) -> None:
    again = pickle.loads(pickle.dumps(value))
    assert size_of(value, 100) == size_of(again, 100) >= VALUE_SIZE


def test_a_size_grows_with_characters_items_and_bits() -> None:
    assert size_of("x" * 1000, 0) >= 1000
    assert size_of(["x" * 1000], 1) >= 1000
    assert size_of([0] * 1000, 1) >= 1000 * edits.REFERENCE_SIZE
    assert size_of({"a": [["x" * 1000]]}, 3, plain=True) >= 1000
    assert size_of(1 << 80_000, 0) >= 10_000
    assert size_of([1 << 80_000], 1) >= 10_000
    assert size_of(Custom("big", {"x": "y" * 1000}), 1) >= 1000


@pytest.mark.parametrize(
    "value",
    [
        nested(5, list),
        nested(5, tuple),
        nested(5, dict),
        nested(5, set),
        nested(5, frozenset),
        {nested(4, tuple): 1},
        Custom("deep", {"x": nested(4)}),
        [1, "a", nested(4)],
    ],
    ids=repr,
)
def test_a_value_deeper_than_its_room_is_refused(value: Any) -> None:
    assert size_of(value, 5)
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        size_of(value, 4)


@pytest.mark.parametrize(
    "value",
    [
        [{"id": number, "name": f"number {number}", "sold": True} for number in range(100)],
        ["a sentence, and another one: it has a few marks in it. " * 20] * 20,
        list(range(1000)),
        {str(number): [] for number in range(1000)},
        "x" * 1000,
    ],
    ids=["records", "texts", "numbers", "empty lists", "text"],
)
def test_the_size_in_a_message_is_about_that_of_its_value(value: Any) -> None:
    looked_at = edits.cost(*edits.put({}, "x", value), 9, True)
    assert looked_at / 3 < edits.cost_in(json.dumps(value).encode(), None, value, 9) < looked_at * 3


def test_a_value_deeper_than_its_room_is_refused_in_a_message_too() -> None:
    value = nested(5)
    assert edits.cost_in(json.dumps(value).encode(), None, value, 5)
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        edits.cost_in(json.dumps(value).encode(), None, value, 4)


@given(container=LISTS, items=LISTS)
def test_a_splice_costs_more_with_more_items(container: Any, items: Any) -> None:
    def cost(items: Any) -> int:
        return edits.cost(*edits.splice(container, 0, 1, items), 99, True)

    assert cost([*items, 1]) > cost(items) >= edits.CHANGE_SIZE


def test_an_edit_of_many_items_is_counted_by_their_number() -> None:
    container = list(range(1000, 0, -1))
    for pair in (
        edits.order(container, sorted(container)),
        edits.cut(container, range(0, 1000, 2)),
        edits.splice(container, 0, 1000, []),
    ):
        assert edits.cost(*pair, 99, True) > 500 * edits.REFERENCE_SIZE
    assert edits.cost(*edits.clear(dict.fromkeys(range(1000))), 99, True) > 1000

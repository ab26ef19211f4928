"""What is not of a stored type becomes one that it equals, or it is refused with what to store."""

from __future__ import annotations

import codecs
import collections
import enum
import math
import multiprocessing
import numbers
import tempfile
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from pyzdb.errors import EncodingError
from pyzdb.values.tags import dumps, loads
from tests.support.strategies import same


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Choice(enum.Flag):
    A = 1
    B = 2


class Array:
    """As numpy's arrays and scalars look."""

    def __init__(self, kind: str, items: Any) -> None:
        self.dtype = type("dtype", (), {"kind": kind})
        self.items = items

    def __iter__(self) -> Any:
        return iter([object() for _ in self.items])

    def tolist(self) -> Any:
        return self.items


class Keyed:
    """As a table, a message or a row looks: it has keys, and is more than a dict."""

    dtype: Any = None

    def __init__(self, **items: Any) -> None:
        self._items = items

    def __iter__(self) -> Any:
        return iter(self._items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def keys(self) -> Any:
        return self._items.keys()

    def items(self) -> Any:
        return self._items.items()

    def tolist(self) -> Any:
        return list(self._items.values())


class Series(Keyed):
    """As a column of a table looks: an array with keys."""

    dtype = type("dtype", (), {"kind": "i"})


class LikeADict(Keyed):
    """As the proxy of a manager's dict looks."""

    get = values = pop = popitem = update = clear = setdefault = Keyed.items


class Finer:
    """Equals nothing but its own type: it knows more than the built-in one can say."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return 0


class FinerDatetime(Finer, datetime):
    pass


class FinerDelta(Finer, timedelta):
    pass


class FinerText(Finer, str):
    pass


class NoTime(datetime):
    @property
    def year(self) -> Any:
        return math.nan


class ManyValues(dict[Any, Any]):
    """A dict that shows the first of many values for a key."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key)[0]

    def __iter__(self) -> Any:
        return super().__iter__()


class Words(list[Any]):
    pass


def in_itself(kind: Any) -> Any:
    value = kind()
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (type("Sub", (float,), {})("nan"), math.nan),
        (collections.UserString("text"), "text"),
        ({collections.UserString("text"): 1}, {"text": 1}),
        (collections.UserList([1]), [1]),
        (collections.UserDict(a=1), {"a": 1}),
        (collections.deque([collections.deque([1])]), [[1]]),
        (((number for number in (1,)) for _ in (1, 2)), [[1], [1]]),
        (Flags.A | Flags.B, 3),
        (Array("i", [[1, 2], [3]]), [[1, 2], [3]]),
        (Array("f", 1.5), 1.5),
        (LikeADict(a=1, b=2), {"a": 1, "b": 2}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_becomes_the_plain_value_that_it_stands_for(value: Any, expected: Any) -> None:
    assert same(loads(dumps(value)), expected)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (FinerDatetime(2024, 1, 1), "does not equal datetime.datetime(2024, 1, 1, 0, 0)"),
        (FinerDelta(1), "does not equal datetime.timedelta(days=1)"),
        (FinerText("x"), "does not equal 'x'"),
        (NoTime(1, 1, 1), "store what stands for it, such as a text or None"),
        (ManyValues(a=[1, 2]), "does not equal {'a': 1}"),
        (Keyed(a=1), "store what it holds, such as dict() or list() of it"),
        (Series(a=1), "store what it holds, such as dict() or list() of it"),
        (EmailMessage(), "store what it holds, such as dict() or list() of it"),
        (Choice.A | Choice.B, "store its value or its name"),
        (Choice.A, "store its value or its name"),
        (in_itself(collections.UserList), "it holds itself"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_become_something_else_is_refused_with_what_to_store(
    value: Any, words: str
) -> None:
    with pytest.raises(EncodingError) as caught:
        dumps({"a": [value]})
    assert caught.value.path == ("a", 0)
    name = type(value).__name__
    assert str(caught.value).startswith(f"db['a'][0]: a value of type {name} cannot be stored; ")
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["M", "g"])
def test_an_array_of_what_python_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(EncodingError, match=r"db\[0\]: a value of type object cannot be stored"):
        dumps(Array(kind, [1]))


def test_a_list_that_holds_itself_is_a_cycle() -> None:
    with pytest.raises(EncodingError, match=r"db\[0\] holds itself: a cycle cannot be stored"):
        dumps(in_itself(Words))


def test_a_dict_of_a_manager_becomes_a_dict() -> None:
    with multiprocessing.get_context("spawn").Manager() as manager:
        assert same(loads(dumps({"x": manager.dict(a=1, b=[2])})), {"x": {"a": 1, "b": [2]}})


def test_a_file_in_disguise_is_refused() -> None:
    with (
        tempfile.NamedTemporaryFile("w+") as temporary,
        codecs.open(__file__, encoding="utf-8") as coded,
    ):
        for file in (temporary, coded):
            with pytest.raises(EncodingError, match=r"db\['a'\].*it is an open file"):
                dumps({"a": file})


@pytest.mark.parametrize(
    "kind", [str, dict, list, collections.UserDict, collections.Counter, Flags, Keyed]
)
def test_a_class_is_refused(kind: type) -> None:
    with pytest.raises(EncodingError, match="a class is not a value: store an instance of it"):
        dumps([kind])


def test_a_mapping_whose_items_cannot_be_taken_is_refused() -> None:
    class Broken(collections.UserDict[str, int]):
        def items(self) -> Any:
            raise RuntimeError("there are none")

    with pytest.raises(EncodingError, match="its items cannot be taken"):
        dumps(Broken(a=1))


@numbers.Integral.register
class Count:
    """An integer that is not Python's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    __hash__ = None  # type: ignore[assignment]  # how Python marks what has none


@numbers.Real.register
class Measure:
    """A real number that is not Python's."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    __hash__ = None  # type: ignore[assignment]  # how Python marks what has none


def test_a_number_of_an_abstract_kind_becomes_pythons_own() -> None:
    assert same(loads(dumps([Count(3), Measure(0.5)])), [3, 0.5])

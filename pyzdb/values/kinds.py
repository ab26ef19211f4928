"""What a value becomes when its own type cannot be stored.

Rules this module keeps:

- A subclass of a type that can be stored becomes that type if the two are equal, as they are for
  an OrderedDict, a namedtuple or an IntEnum, and is refused otherwise: nothing is lost in silence.
- Any other mapping becomes a dict, any other iterable that is list-like a list, an array of numbers
  or texts what its ``tolist`` gives.
- What has keys and may be more than a dict, and what reads from a file, is refused.
"""

from __future__ import annotations

import io
from collections import UserString
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Integral, Rational, Real
from typing import Any
from uuid import UUID

from pyzdb.errors import EncodingError
from pyzdb.paths import Key, Value

_EXACT: dict[type[Any], Callable[[Value], Value]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    dict: dict,
    bytes: bytes,
    bytearray: bytes,
    datetime: lambda v: datetime(
        v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold
    ),
    date: lambda v: date(v.year, v.month, v.day),
    time: lambda v: time(v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold),
    timedelta: lambda v: timedelta(v.days, v.seconds, v.microseconds),
    Decimal: Decimal,
    UUID: lambda v: UUID(int=v.int),
}
"""How a subclass becomes the built-in type; of two that fit, the first."""

_OF_A_DICT = "clear get items keys pop popitem setdefault update values".split()
"""What has all these is a dict in all but name, as one of multiprocessing's managers is."""

_STAND_IN = "store what stands for it, such as a text or None"

_OF_A_FILE = "read readline".split()

_ARRAY_KINDS = frozenset("biufUS")
"""Kinds of arrays and scalars that Python has too: bool, integers, floats, bytes, texts."""


def storable(value: Value) -> Value:
    """The value as a type that can be stored, or nearer to one. Raises EncodingError, with
    words that follow the path of the value."""
    if isinstance(value, type):
        raise _refused(value, "a class is not a value: store an instance of it, or its name")
    for kind, exact in _EXACT.items():
        if isinstance(value, kind):
            return _equal(value, kind, exact)
    if isinstance(value, UserString):
        return str(value)
    if isinstance(value, Enum):
        raise _refused(value, "store its value or its name")
    if _has(value, ["keys", "__getitem__"]) and not isinstance(value, Mapping):
        if _has(value, _OF_A_DICT):
            return _as_dict(value)
        raise _refused(value, "store what it holds, such as dict() or list() of it")
    listed = _without_numpy(value)
    if type(listed) is not type(value):
        return listed
    if isinstance(value, Integral):
        return _equal(value, int, int)
    if isinstance(value, Real) and not isinstance(value, Rational):
        return _equal(value, float, float)
    if isinstance(value, Mapping):
        return _as_dict(value)
    return _listed(value)


def _without_numpy(value: Value) -> Value:
    """What Python has in place of an array or a scalar; anything else as it is."""
    if getattr(getattr(value, "dtype", None), "kind", "") in _ARRAY_KINDS:
        return value.tolist()
    return value


def _equal(value: Value, kind: type[Any], exact: Callable[[Value], Value]) -> Value:
    try:
        built_in = exact(value)
        # A NaN equals nothing, and is one again.
        if built_in == value or built_in != built_in:
            return built_in
    except Exception as error:  # whatever a class of somebody's own may raise
        raise _refused(value, f"{_STAND_IN}: it is not a {kind.__name__} ({error})") from None
    raise _refused(value, f"{_STAND_IN}: it does not equal {built_in!r}, which it would become")


def _as_dict(value: Value) -> dict[Key, Value]:
    try:
        return dict(value.items())
    except Exception as error:  # whatever a class of somebody's own may raise
        raise _refused(value, f"{_STAND_IN}: its items cannot be taken ({error})") from None


def _listed(value: Value) -> Value:
    if not _iterable(value) or isinstance(value, io.IOBase | memoryview):
        raise _refused(value, "pyzdb.register() adds types of your own")
    if _has(value, _OF_A_FILE):
        raise _refused(value, "it is an open file: store what it holds")
    items = list(value)
    if len(items) == 1 and type(items[0]) is type(value) and items[0] == value:
        raise _refused(value, "it holds itself")
    return items


def _iterable(value: Value) -> bool:
    return isinstance(value, Iterable)


def _has(value: Value, names: Iterable[str]) -> bool:
    return all(callable(getattr(value, name, None)) for name in names)


def _refused(value: Value, why: str) -> EncodingError:
    return EncodingError(f": a value of type {type(value).__name__} cannot be stored; {why}")

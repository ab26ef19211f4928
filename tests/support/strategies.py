"""Values for the tests: ready-made, random, and such as no client of ours would send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from pyzdb.values import File, tags
from pyzdb.values.plain import TAG
from pyzdb.values.zones import name_of


def same(left: Any, right: Any) -> bool:
    """Equal in value, type, sign, order of keys and zone, at every level."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float | Decimal):
        return str(left) == str(right)
    if isinstance(left, datetime | time):
        zones = [name_of(each.tzinfo) for each in (left, right)]
        return (
            left.replace(tzinfo=None) == right.replace(tzinfo=None)
            and left.fold == right.fold
            and left.utcoffset() == right.utcoffset()
            and zones[0] == zones[1]
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    return bool(left == right)


ZONES: Any = (
    st.none()
    | st.just(UTC)
    | st.sampled_from(
        [
            timezone(timedelta(hours=-3, minutes=-30)),
            timezone(timedelta(seconds=561)),
            ZoneInfo("Europe/Paris"),
            ZoneInfo("America/New_York"),
        ]
    )
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3).map(lambda n: n * 10**4200 + n),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.just(TAG),
    st.binary(max_size=8),
    st.datetimes(timezones=ZONES, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
    st.dates(),
    st.times(timezones=ZONES),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.builds(File, st.text(st.characters(exclude_categories=["Cs"]), min_size=1)),
    st.builds(File, filename=st.just("a.txt"), content=st.binary(max_size=8)),
)


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


KEYS = st.recursive(
    SCALARS.filter(hashable),
    lambda child: st.lists(child, max_size=3).map(tuple) | st.frozensets(child, max_size=3),
    max_leaves=4,
)

VALUES = st.recursive(
    SCALARS,
    lambda child: st.one_of(
        st.lists(child, max_size=4),
        st.lists(child, max_size=4).map(tuple),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), child),
        st.dictionaries(KEYS, child, max_size=4),
        st.sets(KEYS, max_size=4),
    ),
    max_leaves=12,
)


PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=2), child),
    max_leaves=12,
)
"""Values of plain JSON types."""


_AROUND: dict[Any, Callable[[Any], Any]] = {
    dict: lambda value: {"k": value},
    set: lambda value: {1: value},
}


def nested(levels: int, kind: Any = list, core: Any = None) -> Any:
    value = core
    for _ in range(levels):
        value = _AROUND[kind](value) if kind in _AROUND else kind([value])
    return value


BAD: list[dict[str, Any]] = [
    {TAG: None},
    {TAG: 3},
    {TAG: ["tuple"]},
    {TAG: {}},
    {TAG: "slice"},
    {TAG: "tuple"},
    {TAG: "tuple", "items": None},
    {TAG: "tuple", "items": "ab"},
    {TAG: "tuple", "items": {"a": 1}},
    {TAG: "set", "items": [[]]},
    {TAG: "set", "items": [{TAG: "set", "items": []}]},
    {TAG: "set", "items": [{TAG: "Decimal", "value": "sNaN"}]},
    {TAG: "frozenset", "items": [{}]},
    {TAG: "dict"},
    {TAG: "dict", "items": [1]},
    {TAG: "dict", "items": ["ab"]},
    {TAG: "dict", "items": [{"a": 1, "b": 2}]},
    {TAG: "dict", "items": [[1]]},
    {TAG: "dict", "items": [[1, 2, 3]]},
    {TAG: "dict", "items": [[[], 1]]},
    {TAG: "dict", "items": [[{}, 1]]},
    {TAG: "bytes"},
    {TAG: "bytes", "base64": 3},
    {TAG: "bytes", "base64": "a"},
    {TAG: "bytes", "base64": "\u00e9"},
    {TAG: "bytes", "base64": "!!!!"},
    {TAG: "float", "value": "1e5"},
    {TAG: "float", "value": 1},
    {TAG: "int"},
    {TAG: "int", "hex": 3},
    {TAG: "int", "hex": "xyz"},
    {TAG: "int", "hex": ""},
    {TAG: "datetime"},
    {TAG: "datetime", "iso": 5},
    {TAG: "datetime", "iso": "yesterday"},
    {TAG: "datetime", "iso": "2024-02-30"},
    {TAG: "datetime", "iso": "2024-01-01T00:00:00+99:00"},
    {TAG: "datetime", "iso": "2024-01-01T00:00", "zone": 3},
    {TAG: "date", "iso": "2024-13-01"},
    {TAG: "date", "iso": None},
    {TAG: "time", "iso": "25:00"},
    {TAG: "time", "iso": []},
    {TAG: "timedelta"},
    {TAG: "timedelta", "days": "1", "seconds": 0, "microseconds": 0},
    {TAG: "timedelta", "days": 10**30, "seconds": 0, "microseconds": 0},
    {TAG: "timedelta", "days": 0, "seconds": None, "microseconds": 0},
    {TAG: "Decimal"},
    {TAG: "Decimal", "value": 1.5},
    {TAG: "Decimal", "value": "one"},
    {TAG: "Decimal", "value": [0, [1], 2]},
    {TAG: "Decimal", "value": "1e99999999999999999999"},
    {TAG: "UUID"},
    {TAG: "UUID", "value": 3},
    {TAG: "UUID", "value": "1234"},
    {TAG: "file"},
    {TAG: "file", "filename": "a"},
    {TAG: "file", "location": 3},
    {TAG: "file", "location": ["/a"]},
    {TAG: "file", "location": "/a", "filename": 3},
    {TAG: "file", "content": "a"},
    {TAG: "file", "filename": "a", "content": 3},
    {TAG: "file", "filename": "a", "content": {}},
    {TAG: "file", "filename": "a", "content": {"base64": "!"}},
]


TAGS = st.sampled_from(sorted({*tags.TAGS, "own"}))
FIELDS = st.sampled_from(
    "items base64 value hex iso zone fold days seconds location filename content data".split()
)
WIRES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda child: st.one_of(
        st.lists(child, max_size=3),
        st.dictionaries(st.text(max_size=3), child, max_size=3),
        st.builds(
            lambda tag, rest: {TAG: tag, **rest}, TAGS | child, st.dictionaries(FIELDS, child)
        ),
    ),
    max_leaves=10,
)

"""Values of plain JSON types: those that travel as they are.

Rules this module keeps:

- What is asked of a large value is asked of many of its parts at once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from math import isfinite
from typing import Any

from pyzdb.errors import EncodingError
from pyzdb.paths import Path, path_text

TAG = "_customtype"

MAX_DEPTH = 100
"""Containers inside one another. JSON parsers and Python's own recursion stay far from their
limits at this depth, and a cycle is found soon."""

BIG_INT = 10**4000
"""Integers from here on are tagged: Python refuses decimal text of more than 4,300 digits."""

NEGATIVE_BIG_INT = -BIG_INT
"""And those until here; named, since Python would make its 1.7 KB anew at every look."""

MANY = 64
"""Values of a list from which on it is quicker to look at all of them at once."""

LEAVES = frozenset({str, bool, type(None)})

_PLAIN = LEAVES | {int, float, dict, list}


def is_plain(value: Any, depth_left: int = MAX_DEPTH) -> bool:
    """True for a value of plain JSON types at most ``depth_left`` containers deep."""
    kind = type(value)
    if kind is dict:
        if depth_left <= 0 or TAG in value:
            return False
        for key in value:
            if type(key) is not str:
                return False
        children: Iterable[Any] = value.values()
    elif kind is list:
        if depth_left <= 0:
            return False
        if len(value) >= MANY:
            return _all_plain(value, depth_left - 1)
        children = value
    elif kind is int:
        small: bool = NEGATIVE_BIG_INT < value < BIG_INT
        return small
    elif kind is float:
        return isfinite(value)
    else:
        return kind in LEAVES
    for child in children:
        kind = type(child)
        if kind in LEAVES:
            continue
        if kind is int:
            if NEGATIVE_BIG_INT < child < BIG_INT:
                continue
            return False
        if kind is float:
            if isfinite(child):
                continue
            return False
        if (kind is dict or kind is list) and is_plain(child, depth_left - 1):
            continue
        return False
    return True


def _all_plain(values: list[Any], depth_left: int) -> bool:
    """The same for each of many values, by questions that Python answers for all of them at
    once: of records, those about a field."""
    kinds = set(map(type, values))
    if not kinds <= _PLAIN:
        return False
    if int in kinds:
        numbers = values if len(kinds) == 1 else [v for v in values if type(v) is int]
        if not (NEGATIVE_BIG_INT < min(numbers) and max(numbers) < BIG_INT):
            return False
    if float in kinds:
        numbers = values if len(kinds) == 1 else [v for v in values if type(v) is float]
        if not all(map(isfinite, numbers)):
            return False
    if kinds == {dict} and depth_left > 0:
        keys = set().union(*values)
        if TAG in keys or not set(map(type, keys)) <= {str}:
            return False
        # Python's collector knows what they hold: their values, and their keys too unless all of
        # those are exact strings. Of records with the same keys, each part is one field.
        held = gc.get_referents(*values)
        width = max(1, len(values[0]))
        return all(_all_plain(held[place::width], depth_left - 1) for place in range(width))
    if dict in kinds or list in kinds:
        return all(is_plain(v, depth_left) for v in values if type(v) is dict or type(v) is list)
    return True


def too_deep(value: Any, depth_left: int) -> bool:
    """True when a value of plain JSON types is more than ``depth_left`` containers deep.

    Python's collector is asked what each container holds: that takes no call for each value.
    """
    level = [value]
    while level and depth_left > 0:
        # What it does not track holds no container, though it may be a dict itself.
        level = gc.get_referents(*filter(gc.is_tracked, level))
        depth_left -= 1
    return any(type(value) is dict or type(value) is list for value in level)


def surrogate_error(value: Any, path: Path = ()) -> EncodingError:
    """The error for a plain value in which the encoder met a lone surrogate, and its path."""
    found = _find_surrogate(value, tuple(path))
    where = path if found is None else found
    return EncodingError(
        f"{path_text(where)}: a lone surrogate is no character and cannot be stored", where
    )


def _find_surrogate(value: Any, path: Path) -> Path | None:
    if type(value) is str:
        return path if any("\ud800" <= char <= "\udfff" for char in value) else None
    if type(value) is dict:
        children: Iterable[tuple[Any, Any]] = value.items()
    elif type(value) is list:
        children = enumerate(value)
    else:
        return None
    for key, child in children:
        place = (*path, key)
        if _find_surrogate(key, place) is not None:
            return place
        found = _find_surrogate(child, place)
        if found is not None:
            return found
    return None

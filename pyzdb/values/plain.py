"""What needs no tag, how deep it is, and how much memory it takes.

A value is *plain* when JSON carries it as it is: None, a bool, a finite float, a text, an integer
of no more digits than Python writes, a list of plain values, and a dict of them whose keys are
texts and not the tag's own name.

Rules this module keeps:

- That rule stands here. A second copy of it says why it is one.
- What is asked of a large value is asked of many of its parts at once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from math import isfinite
from typing import Any

from pyzdb.errors import EncodingError
from pyzdb.paths import Key, Path, Value, path_text
from pyzdb.values.types import Custom

TAG = "_customtype"

MAX_DEPTH = 100
"""Containers inside one another. JSON parsers and Python's own recursion stay far from their
limits at this depth, and a cycle is found soon."""

SCALARS = 0
"""The ``depth_left`` of values of which none may be a container."""

BIG_INT = 10**4000
"""Integers from here on are tagged: Python refuses decimal text of more than 4,300 digits."""

NEGATIVE_BIG_INT = -BIG_INT
"""And those down to here; a constant, since Python would make its 1.7 KB again at every look."""

MANY = 64
"""Values of a list from which on it is quicker to look at all of them at once."""

LEAVES: frozenset[type[Any]] = frozenset({str, bool, type(None)})
"""Types all of whose values are plain."""

_PLAIN = LEAVES | {int, float, dict, list}

_CONTAINERS = frozenset({dict, list})

_SEQUENCES = frozenset({list, tuple, set, frozenset})

VALUE_SIZE = 50
"""About the bytes of memory that a value takes beside its characters."""

TOO_DEEP = f"the value would lie deeper than {MAX_DEPTH} levels"
"""What a ValueError says of a value that has more containers inside one another."""


def is_plain(value: Value, depth_left: int = MAX_DEPTH) -> bool:
    """True for a plain value of at most ``depth_left`` containers inside one another."""
    return each_is_plain((value,), depth_left)


def each_is_plain(values: Iterable[Value], depth_left: int) -> bool:
    """True when each of some values is plain, with at most ``depth_left`` containers inside one
    another.

    One call a container, and none for another value: this is asked of all that is stored.
    """
    for value in values:
        kind = type(value)
        if kind in LEAVES:
            continue
        if kind is int:
            if not NEGATIVE_BIG_INT < value < BIG_INT:
                return False
        elif kind is float:
            if not isfinite(value):
                return False
        elif kind is dict:
            if depth_left <= 0 or TAG in value:
                return False
            for key in value:  # `is_object`, without its call
                if type(key) is not str:
                    return False
            if not each_is_plain(value.values(), depth_left - 1):
                return False
        elif kind is list:
            if depth_left <= 0:
                return False
            if len(value) >= MANY:
                if not _all_plain(value, depth_left - 1):
                    return False
            elif not each_is_plain(value, depth_left - 1):
                return False
        else:
            return False
    return True


def _all_plain(values: list[Value], depth_left: int) -> bool:
    """What `each_is_plain` says of many values, by questions that Python answers for all of them
    at once: of records, those about a field."""
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
        return all(_all_plain(held[field::width], depth_left - 1) for field in range(width))
    if dict in kinds or list in kinds:
        return each_is_plain([v for v in values if type(v) in _CONTAINERS], depth_left)
    return True


def is_object(value: dict[Key, Value]) -> bool:
    """True for a dict that travels as a JSON object, whatever its values are."""
    return TAG not in value and all(type(key) is str for key in value)


def too_deep(value: Value, depth_left: int) -> bool:
    """True when a plain value is more than ``depth_left`` containers deep.

    Python's collector is asked what each container holds: that takes no call for each value.
    """
    level = [value]
    while level and depth_left > 0:
        # What it does not track holds no container, though it may be a dict itself.
        level = gc.get_referents(*filter(gc.is_tracked, level))
        depth_left -= 1
    return any(type(value) is dict or type(value) is list for value in level)


def size_of(value: Value, depth_left: int, plain: bool = False) -> int:
    """About how many bytes of memory any value takes, by a rule that gives the same in every
    process. Raises ValueError when it has more than ``depth_left`` containers inside one another.

    ``plain`` (bool): it is known to be plain, which takes fewer looks and gives the same.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        characters: int = len(value)
        return VALUE_SIZE + characters
    if kind is int:
        return VALUE_SIZE + int.bit_length(value) // 8
    children: Iterable[Value]
    if kind is dict:
        size = 2 * VALUE_SIZE * len(value)
        if plain:
            size += sum(map(len, value))
            children = value.values()
        else:
            children = (*value, *value.values())
    elif kind in _SEQUENCES:
        size = VALUE_SIZE * len(value)
        children = value
    elif kind is Custom:
        return size_of(value.fields, depth_left)
    else:
        return VALUE_SIZE
    if depth_left <= 0:
        raise ValueError(TOO_DEEP)
    for child in children:
        kind = type(child)
        if kind is str:
            size += len(child)
        elif kind is int:
            size += child.bit_length() // 8
        elif kind is not bool and kind is not float:
            size += size_of(child, depth_left - 1, plain) - VALUE_SIZE
    return VALUE_SIZE + size


def surrogate_error(value: Value, path: Path = ()) -> EncodingError:
    """The error for a plain value in which the encoder met a lone surrogate, and its path."""
    found = _find_surrogate(value, tuple(path))
    where = path if found is None else found
    return EncodingError(
        f"{path_text(where)}: a lone surrogate is not a character and cannot be stored", where
    )


def _find_surrogate(value: Value, path: Path) -> Path | None:
    if type(value) is str:
        return path if any("\ud800" <= char <= "\udfff" for char in value) else None
    if type(value) is dict:
        children: Iterable[tuple[Key, Value]] = value.items()
    elif type(value) is list:
        children = enumerate(value)
    else:
        return None
    for key, child in children:
        inner = (*path, key)
        if _find_surrogate(key, inner) is not None:
            return inner
        found = _find_surrogate(child, inner)
        if found is not None:
            return found
    return None

"""The few primitive edits that every change of the tree is made of, each with its inverse.

An edit is a tuple: a name of EDITS, then its arguments. It is applied to one container, dict or
list, and can not fail there: who makes an edit has checked it. A change is

    (path, undo, redo)

the path of the container (tuple of keys) and two edits that take each other back, key order
included. Edits hold the values themselves and no copies: changes are undone last-in first-out,
so at that moment a value is again what it was when its change was made.

    =====================================  ================================================
    edit                                   what it does
    =====================================  ================================================
    ("set", key, value)                    replace the value of a key or index that is there
    ("add", key, value, place)             add a key to a dict before the key that is at
                                           ``place`` (int), None: at the end
    ("drop", key)                          remove a key of a dict
    ("splice", start, count, items)        replace ``count`` items of a list from ``start``
    ("reverse",)                           turn a list around
    =====================================  ================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from pyzdb.errors import Path

Edit = tuple[Any, ...]
Change = tuple[Path, Edit, Edit]
Pair = tuple[Edit, Edit]
"""An edit that undoes, and the one that it takes back."""


def _set(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def _add(container: dict[Any, Any], key: Any, value: Any, place: int | None) -> None:
    if place is None:
        container[key] = value
        return
    behind = list(islice(container.items(), place, None))
    for moved, _ in behind:
        del container[moved]
    container[key] = value
    container.update(behind)


def _drop(container: dict[Any, Any], key: Any) -> None:
    del container[key]


def _splice(container: list[Any], start: int, count: int, items: list[Any]) -> None:
    container[start : start + count] = items


def _reverse(container: list[Any]) -> None:
    container.reverse()


EDITS: dict[str, Callable[..., None]] = {
    "set": _set,
    "add": _add,
    "drop": _drop,
    "splice": _splice,
    "reverse": _reverse,
}


def apply(container: Any, edit: Edit) -> None:
    """Do one edit to a container."""
    EDITS[edit[0]](container, *edit[1:])


def put(container: dict[Any, Any], key: Any, value: Any) -> Pair:
    """The edits that store a value under a key of a dict, new or not."""
    if key in container:
        return ("set", key, container[key]), ("set", key, value)
    return ("drop", key), ("add", key, value, None)


def replace(container: Any, key: Any, value: Any) -> Pair:
    """The edits that replace the value of a key or an index that is there."""
    return ("set", key, container[key]), ("set", key, value)


def drop(container: dict[Any, Any], key: Any) -> Pair:
    """The edits that remove a key which is in a dict."""
    stored = next(reversed(container))
    place = None
    if stored != key:
        # The key as it is stored: 1 and True are one key, and undo brings back the first.
        place, stored = next(
            (number, other) for number, other in enumerate(container) if other == key
        )
    return ("add", stored, container[stored], place), ("drop", stored)


def splice(container: list[Any], start: int, count: int, items: Iterable[Any]) -> Pair:
    """The edits that replace ``count`` items of a list from ``start`` on."""
    new = list(items)
    old = container[start : start + count]
    return ("splice", start, len(new), old), ("splice", start, count, new)


REVERSE: Pair = (("reverse",), ("reverse",))

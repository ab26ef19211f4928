"""The few primitive edits that every change of the tree is made of, each with its inverse.

An edit is a tuple: a name of EDITS, then its arguments. It is applied to one container, dict or
list, and cannot fail there: that is checked before an edit is made. A change is

    (path, undo, redo, size)

the path of the container (tuple of keys), two edits that take each other back, key order
included, and about how many bytes it costs to remember them. Edits hold the values themselves
and no copies: changes are undone last-in first-out, so at that moment a value is again what it
was when its change was made. For the same reason the tree and the changes are pickled together.

    =====================================  ================================================
    edit                                   what it does
    =====================================  ================================================
    ("set", key, value)                    replace the value of a key or index that is there
    ("add", key, value, position)          add a key to a dict before the key that is at
                                           ``position`` (int), None: at the end
    ("drop", key)                          remove a key of a dict
    ("clear",)                             remove all keys of a dict
    ("fill", items)                        put all items of a dict into an empty one
    ("splice", start, count, items)        replace ``count`` items of a list from ``start``
    ("cut", start, stop, step)             remove every ``step``-th item of a list
    ("weave", start, stop, step, items)    put such items back where they were
    ("order", items)                       put the items of a list in another order
    ("reverse",)                           turn a list around
    =====================================  ================================================

Every edit takes the time of what it moves. To drop a key of a dict, and to add it again, takes
time that grows with the keys before it or behind it, unless it is the last: a dict does not know
the position of a key. What does many of these goes through the dict only once (order.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyzdb.operations.order import Orders, Positions, Reordering
from pyzdb.paths import Key, Path, Value
from pyzdb.values.json_text import Shape, shape_of
from pyzdb.values.plain import TOO_DEEP, VALUE_SIZE, size_of, too_deep

Edit = tuple[Value, ...]
Change = tuple[Path, Edit, Edit, int]
UndoRedo = tuple[Edit, Edit]
"""An edit that undoes, and the one that it takes back."""

REFERENCE_SIZE = 8
"""Bytes that a container takes for each value in it."""

CHANGE_SIZE = 400
"""About the bytes of a change itself: four tuples and a path."""

AROUND_VALUE = 2
"""Levels of a message around the values in it: the object, and the array of arguments."""

_UNPOSITIONED: Edit = ("add",)


def _set(container: Value, key: Key, value: Value) -> None:
    container[key] = value


def _add(container: dict[Key, Value], key: Key, value: Value, position: int | None) -> None:
    if position is None:
        container[key] = value
    else:
        reordering = Reordering(container)
        reordering.add(key, value, position)
        reordering.finish()


def _drop(container: dict[Key, Value], key: Key) -> None:
    # popitem leaves no hole behind the last key, through which the next look at it would go. And
    # a key that equals nothing (NaN read from a snapshot) can only be the last one.
    if next(reversed(container)) == key or key not in container:
        container.popitem()
    else:
        del container[key]


def _clear(container: dict[Key, Value]) -> None:
    container.clear()


def _fill(container: dict[Key, Value], items: dict[Key, Value]) -> None:
    container.update(items)


def _splice(container: list[Value], start: int, count: int, items: list[Value]) -> None:
    container[start : start + count] = items


def _cut(container: list[Value], start: int, stop: int, step: int) -> None:
    del container[start:stop:step]


def _weave(container: list[Value], start: int, stop: int, step: int, items: list[Value]) -> None:
    back = dict(zip(range(start, stop, step), items, strict=True))
    others = iter(container[:])
    indexes = range(len(container) + len(items))
    container[:] = [back[index] if index in back else next(others) for index in indexes]


def _order(container: list[Value], items: list[Value]) -> None:
    container[:] = items


def _reverse(container: list[Value]) -> None:
    container.reverse()


EDITS: dict[str, Callable[..., None]] = {
    "set": _set,
    "add": _add,
    "drop": _drop,
    "clear": _clear,
    "fill": _fill,
    "splice": _splice,
    "cut": _cut,
    "weave": _weave,
    "order": _order,
    "reverse": _reverse,
}


def apply(container: Value, edit: Edit) -> None:
    """Do one edit to a container."""
    EDITS[edit[0]](container, *edit[1:])


def apply_all(
    targets: Iterable[tuple[Value, Edit]], apply: Callable[[Value, Edit], None] = apply
) -> None:
    """Do edits that undo, the newest change first, each to its container; the next container is
    asked for when the edit before it is done. ``apply`` does one edit."""
    orders = Orders(apply)
    for container, edit in targets:
        orders.apply(container, edit)
    orders.finish()


def put(container: dict[Key, Value], key: Key, value: Value) -> UndoRedo:
    """The edits that store a value under a key of a dict, new or not."""
    if key in container:
        return ("set", key, container[key]), ("set", key, value)
    return ("drop", key), ("add", key, value, None)


def replace(container: Value, key: Key, value: Value) -> UndoRedo:
    """The edits that replace the value of a key or an index that is there."""
    return ("set", key, container[key]), ("set", key, value)


def drop(key: Key) -> UndoRedo:
    """The edits that remove a key of a dict, of which the one that undoes is made by `positioned`
    when the drop is about to be done."""
    return _UNPOSITIONED, ("drop", key)


def positioned(container: dict[Key, Value], key: Key, positions: Positions) -> UndoRedo:
    """The edits that remove a key of a dict, both whole."""
    # The key as it is stored: 1 and True are one key, and undo brings back the first.
    stored, position = positions.take(container, key)
    return ("add", stored, container[stored], position), ("drop", stored)


def clear(container: dict[Key, Value]) -> UndoRedo:
    """The edits that remove all keys of a dict."""
    return ("fill", container.copy()), ("clear",)


def splice(container: list[Value], start: int, count: int, items: list[Value]) -> UndoRedo:
    """The edits that replace ``count`` items of a list from ``start`` on."""
    old = container[start : start + count]
    return ("splice", start, len(items), old), ("splice", start, count, items)


def cut(container: list[Value], indexes: range) -> UndoRedo:
    """The edits that remove the items at some indexes of a list."""
    if indexes.step < 0:
        indexes = indexes[::-1]
    ends = (indexes.start, indexes.stop, indexes.step)
    return ("weave", *ends, container[slice(*ends)]), ("cut", *ends)


def order(container: list[Value], items: list[Value]) -> UndoRedo:
    """The edits that put the items of a list in another order."""
    return ("order", container[:]), ("order", items)


REVERSE: UndoRedo = (("reverse",), ("reverse",))


def cost(undo: Edit, redo: Edit, depth_left: int, plain: bool) -> int:
    """About how many bytes it takes to remember two edits. Raises ValueError like size_of.

    What undo brings back is counted by the change that once brought it in.
    """
    size = CHANGE_SIZE
    kind = redo[0]
    if kind == "set":
        return size + size_of(redo[2], depth_left, plain)
    if kind == "add":
        return size + size_of(redo[1], depth_left, plain) + size_of(redo[2], depth_left, plain)
    for edit in (undo, redo):
        if type(edit[-1]) in (list, dict):
            size += REFERENCE_SIZE * len(edit[-1])
    if kind == "splice":
        size += sum([size_of(item, depth_left, plain) for item in redo[3]])
    return size


def cost_in(message: bytes, shape: Shape | None, value: Value, depth_left: int) -> int:
    """About what `cost` says of storing a plain value that came alone in a JSON message, without
    a look at its parts; ``shape`` as far as it was looked at. Raises ValueError like size_of.
    """
    if shape is None:
        shape = shape_of(message)
    if shape.depth - AROUND_VALUE > depth_left and too_deep(value, depth_left):
        raise ValueError(TOO_DEEP)
    return CHANGE_SIZE + len(message) + VALUE_SIZE * shape.marks

"""What can be done to a dict and a list: results of reads, and plans of writes.

Rules this module keeps:

- A write changes nothing here. It returns a plan, the result and the edits that are still to be
  done, and all that can go wrong goes wrong before the first of them.
- What it plans depends on the container and the arguments alone, so that it comes out the same
  when the journal is read by another process.
- Each raises what Python raises.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyzdb.operations import edits
from pyzdb.operations.edits import UndoRedo
from pyzdb.operations.limits import check_bytes, machine_word, repeated_bytes
from pyzdb.paths import Key, Value
from pyzdb.values.tags import dumps

Plan = tuple[Value, list[UndoRedo]]
"""The result of a write, and the edits still to be done."""


def listed(items: Value) -> list[Value]:
    """The items of an iterable. Those of a set come in the order of their encoded bytes: its own
    order is another one in every process."""
    if type(items) is set or type(items) is frozenset:
        return sorted(items, key=_sort_key)
    return list(items)


def _sort_key(item: Value) -> bytes:
    if type(item) is frozenset:
        return b"{%b}" % b" ".join(sorted(map(_sort_key, item)))
    if type(item) is tuple:
        return b"(%b)" % b" ".join(map(_sort_key, item))
    return dumps(item)


def own(value: Value) -> Value:
    """A copy of a value in which no container is shared with the value."""
    if type(value) is dict:
        return {key: own(item) for key, item in value.items()}
    if type(value) is list:
        return [own(item) for item in value]
    if type(value) is tuple:
        return tuple([own(item) for item in value])
    return value


# --- reads ---------------------------------------------------------------------------------


def items(value: dict[Key, Value]) -> list[list[Value]]:
    return [[key, item] for key, item in value.items()]


def copy(value: Value) -> Value:
    return value  # what is read is a copy by the time that it has travelled


# --- dict: writes --------------------------------------------------------------------------


def dict_set(value: dict[Key, Value], key: Key, item: Value, /) -> Plan:
    if type(key) is slice:
        raise TypeError("unhashable type: 'slice'")
    return None, [edits.put(value, key, item)]


def dict_delete(value: dict[Key, Value], key: Key, /) -> Plan:
    if key not in value:
        raise KeyError(key)
    return None, [edits.drop(key)]


def dict_clear(value: dict[Key, Value]) -> Plan:
    return None, [edits.clear(value)] if value else []


_MISSING: Value = object()


def dict_pop(value: dict[Key, Value], key: Key, default: Value = _MISSING, /) -> Plan:
    # Python's own looks at no key of an empty dict, not even whether it is one.
    if value and key in value:
        return value[key], [edits.drop(key)]
    if default is _MISSING:
        raise KeyError(key)
    return default, []


def dict_popitem(value: dict[Key, Value]) -> Plan:
    if not value:
        raise KeyError("popitem(): dictionary is empty")
    key = next(reversed(value))
    return (key, value[key]), [edits.drop(key)]


def dict_setdefault(value: dict[Key, Value], key: Key, default: Value = None, /) -> Plan:
    if key in value:
        return value[key], []
    return default, [edits.put(value, key, default)]


def dict_update(value: dict[Key, Value], other: Value = (), /, **named: Value) -> Plan:
    if type(other) is not dict:
        # A pair may be a set too.
        other = map(listed, listed(other))
    new = dict(other, **named)
    return None, [edits.put(value, key, item) for key, item in new.items()]


def dict_ior(value: dict[Key, Value], other: Value, /) -> Plan:
    return dict_update(value, other)


# --- list: writes --------------------------------------------------------------------------


def _index(value: list[Value], index: Value, what: str) -> int:
    """An index of an item of a list, counted from its start."""
    counted: int = index + len(value) if index < 0 else index
    if not 0 <= counted < len(value):
        raise IndexError(f"{what} index out of range")
    return counted


def list_set(value: list[Value], key: Key, item: Value, /) -> Plan:
    if type(key) is not slice:
        if type(key) is not int:
            _refuse_index(key)
        return None, [edits.replace(value, _index(value, key, "list assignment"), item)]
    new = listed(item)
    start, stop, step = key.indices(len(value))
    if step == 1:
        return None, [edits.splice(value, start, max(0, stop - start), new)]
    indexes = range(start, stop, step)
    if len(indexes) != len(new):
        raise ValueError(
            f"attempt to assign sequence of size {len(new)}"
            f" to extended slice of size {len(indexes)}"
        )
    return None, [edits.replace(value, *each) for each in zip(indexes, new, strict=True)]


def _refuse_index(key: Key) -> None:
    if type(key) is not bool:
        kind = type(key).__name__
        raise TypeError(f"list indices must be integers or slices, not {kind}")


def list_delete(value: list[Value], key: Key, /) -> Plan:
    if type(key) is not slice:
        if type(key) is not int:
            _refuse_index(key)
        return None, [edits.splice(value, _index(value, key, "list assignment"), 1, [])]
    return None, [edits.cut(value, range(*key.indices(len(value))))]


def list_append(value: list[Value], item: Value, /) -> Plan:
    return None, [edits.splice(value, len(value), 0, [item])]


def list_clear(value: list[Value]) -> Plan:
    return None, [edits.splice(value, 0, len(value), [])]


def list_extend(value: list[Value], items: Iterable[Value], /) -> Plan:
    return None, [edits.splice(value, len(value), 0, listed(items))]


def list_insert(value: list[Value], index: Value, item: Value, /) -> Plan:
    start = slice(machine_word(index), None).indices(len(value))[0]
    return None, [edits.splice(value, start, 0, [item])]


def list_pop(value: list[Value], index: Value = -1, /) -> Plan:
    index = machine_word(index)
    if not value:
        raise IndexError("pop from empty list")
    index = _index(value, index, "pop")
    return value[index], [edits.splice(value, index, 1, [])]


def list_remove(value: list[Value], item: Value, /) -> Plan:
    return None, [edits.splice(value, value.index(item), 1, [])]


def list_reverse(value: list[Value]) -> Plan:
    return None, [edits.REVERSE]


def list_sort(value: list[Value], /, *, key: None = None, reverse: bool = False) -> Plan:
    if key is not None:
        raise TypeError("sort() takes no key here: a function cannot be sent")
    return None, [edits.order(value, sorted(value, reverse=reverse))]


def list_imul(value: list[Value], times: Value, /) -> Plan:
    if type(times) not in (int, bool):
        kind = type(times).__name__
        raise TypeError(f"can't multiply sequence by non-int of type {kind!r}")
    times = machine_word(times)
    if times <= 0:
        return list_clear(value)
    check_bytes(repeated_bytes(value) * times)
    # Two paths of the tree never share a container.
    more = [own(item) for _ in range(times - 1) for item in value]
    return None, [edits.splice(value, len(value), 0, more)]

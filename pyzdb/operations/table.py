"""What can be done to a stored value: one table, ``(type, function) -> Operation``.

The table is the allow-list. A function that is not in it does not exist, whatever Python has
under that name; nothing is ever looked up as an attribute. There are three kinds:

- "read": ``call(value, *args, **kwargs)`` returns the result and changes nothing.
- "write": ``call(container, *args, **kwargs)`` changes nothing either; it returns the result
  and the pairs of edits (edits.py) that will do the work and take it back. All that can go
  wrong goes wrong before the first edit.
- "replace": ``call(value, *args)`` returns the value that takes the place of this one, for the
  in-place operators of values that are no containers: ``db['x'] += 1``.

Each raises what Python raises. Results have limits, since a short message can ask for a huge
one: ``'x' * 10**12``. What a write does depends on nothing but the tree and the arguments, so
that it comes out the same when the journal is read by another process.
"""

from __future__ import annotations

import codecs
import operator
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from pyzdb.operations import edits
from pyzdb.operations.edits import UndoRedo
from pyzdb.values.plain import MAX_DEPTH
from pyzdb.values.tags import dumps
from pyzdb.values.types import Custom, File
from pyzdb.values.zones import computed

MAX_BYTES = 100_000_000
"""About the bytes of memory that an operation may make: enough for any page of data, and far
less than the memory of a server."""

MAX_BITS = 100_000
"""Bits of an integer that an operation may make: with a million, a comparison with a Decimal
takes seconds."""

MAX_DIGITS = 1_000
"""Digits of a Decimal that may be raised to a power: 5,000 take seconds."""

DIGIT_BITS = 4
"""Bits that a decimal digit takes at most."""

ENCODINGS = frozenset(
    "ascii cp1252 iso8859-1 utf-16 utf-16-be utf-16-le utf-32 utf-32-be utf-32-le utf-8".split()
)
"""Encodings of text that take the time of its length; Python has others that take its square."""


Kind = Literal["read", "write", "replace"]
"""What an operation does to the tree."""


class Operation(msgspec.Struct, frozen=True):
    """One line of the table. ``stored``: the result is made of nothing but what is stored and
    the arguments, without a new tuple or key."""

    kind: Kind
    call: Callable[..., Any]
    stored: bool = False


REMOVING = frozenset({"__delitem__", "clear", "pop", "popitem", "remove"})
"""Functions that only make the tree smaller: what one does to make room on a full disk."""

Plan = tuple[Any, list[UndoRedo]]
"""The result of a write, and the edits still to be done."""


def _limit(size: int, most: int = MAX_BYTES, unit: str = "bytes") -> None:
    if size > most:
        # The size may be a number of a million digits, which takes long to write.
        raise OverflowError(f"the result would be too large: the limit is {most:,} {unit}")


def _index(value: Any) -> int:
    """An integer argument that Python keeps in a machine word."""
    index = operator.index(value)
    if not -sys.maxsize - 1 <= index <= sys.maxsize:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return index


def _listed(items: Any) -> list[Any]:
    """The items of an iterable. Those of a set come in the order of their encoded bytes: its own
    order is another one in every process."""
    if type(items) is set or type(items) is frozenset:
        return sorted(items, key=_sort_key)
    return list(items)


def _sort_key(item: Any) -> bytes:
    if type(item) is frozenset:
        return b"{%b}" % b" ".join(sorted(map(_sort_key, item)))
    if type(item) is tuple:
        return b"(%b)" % b" ".join(map(_sort_key, item))
    return dumps(item)


# --- containers: reads ---------------------------------------------------------------------


def _items(value: dict[Any, Any]) -> list[list[Any]]:
    return [[key, item] for key, item in value.items()]


def _copy(value: Any) -> Any:
    return value


def _subscript(value: Any, key: Any, /) -> Any:
    return value[key]


# --- dict: writes --------------------------------------------------------------------------


def _dict_set(value: dict[Any, Any], key: Any, item: Any, /) -> Plan:
    if type(key) is slice:
        raise TypeError("unhashable type: 'slice'")
    return None, [edits.put(value, key, item)]


def _dict_delete(value: dict[Any, Any], key: Any, /) -> Plan:
    if key not in value:
        raise KeyError(key)
    return None, [edits.drop(key)]


def _dict_clear(value: dict[Any, Any]) -> Plan:
    return None, [edits.clear(value)] if value else []


_MISSING: Any = object()


def _dict_pop(value: dict[Any, Any], key: Any, default: Any = _MISSING, /) -> Plan:
    # Python's own looks at no key of an empty dict, not even whether it is one.
    if value and key in value:
        return value[key], [edits.drop(key)]
    if default is _MISSING:
        raise KeyError(key)
    return default, []


def _dict_popitem(value: dict[Any, Any]) -> Plan:
    if not value:
        raise KeyError("popitem(): dictionary is empty")
    key = next(reversed(value))
    return (key, value[key]), [edits.drop(key)]


def _dict_setdefault(value: dict[Any, Any], key: Any, default: Any = None, /) -> Plan:
    if key in value:
        return value[key], []
    return default, [edits.put(value, key, default)]


def _dict_update(value: dict[Any, Any], other: Any = (), /, **named: Any) -> Plan:
    if type(other) is not dict:
        # A pair may be a set too.
        other = map(_listed, _listed(other))
    new = dict(other, **named)
    return None, [edits.put(value, key, item) for key, item in new.items()]


def _dict_ior(value: dict[Any, Any], other: Any, /) -> Plan:
    return _dict_update(value, other)


# --- list: writes --------------------------------------------------------------------------


def _place(value: list[Any], index: Any, what: str) -> int:
    place: int = index + len(value) if index < 0 else index
    if not 0 <= place < len(value):
        raise IndexError(f"{what} index out of range")
    return place


def _list_set(value: list[Any], key: Any, item: Any, /) -> Plan:
    if type(key) is not slice:
        if type(key) is not int:
            _refuse_index(key)
        place = _place(value, key, "list assignment")
        return None, [edits.replace(value, place, item)]
    new = _listed(item)
    start, stop, step = key.indices(len(value))
    if step == 1:
        return None, [edits.splice(value, start, max(0, stop - start), new)]
    places = range(start, stop, step)
    if len(places) != len(new):
        raise ValueError(
            f"attempt to assign sequence of size {len(new)} to extended slice of size {len(places)}"
        )
    return None, [edits.replace(value, place, one) for place, one in zip(places, new, strict=True)]


def _refuse_index(key: Any) -> None:
    if type(key) is not bool:
        kind = type(key).__name__
        raise TypeError(f"list indices must be integers or slices, not {kind}")


def _list_delete(value: list[Any], key: Any, /) -> Plan:
    if type(key) is not slice:
        if type(key) is not int:
            _refuse_index(key)
        return None, [edits.splice(value, _place(value, key, "list assignment"), 1, [])]
    return None, [edits.cut(value, range(*key.indices(len(value))))]


def _list_append(value: list[Any], item: Any, /) -> Plan:
    return None, [edits.splice(value, len(value), 0, [item])]


def _list_clear(value: list[Any]) -> Plan:
    return None, [edits.splice(value, 0, len(value), [])]


def _list_extend(value: list[Any], items: Iterable[Any], /) -> Plan:
    return None, [edits.splice(value, len(value), 0, _listed(items))]


def _list_insert(value: list[Any], index: Any, item: Any, /) -> Plan:
    place = slice(_index(index), None).indices(len(value))[0]
    return None, [edits.splice(value, place, 0, [item])]


def _list_pop(value: list[Any], index: Any = -1, /) -> Plan:
    index = _index(index)
    if not value:
        raise IndexError("pop from empty list")
    place = _place(value, index, "pop")
    return value[place], [edits.splice(value, place, 1, [])]


def _list_remove(value: list[Any], item: Any, /) -> Plan:
    return None, [edits.splice(value, value.index(item), 1, [])]


def _list_reverse(value: list[Any]) -> Plan:
    return None, [edits.REVERSE]


def _list_sort(value: list[Any], /, *, key: None = None, reverse: bool = False) -> Plan:
    if key is not None:
        raise TypeError("sort() takes no key here: a function cannot be sent")
    return None, [edits.order(value, sorted(value, reverse=reverse))]


def _list_imul(value: list[Any], times: Any, /) -> Plan:
    if type(times) not in (int, bool):
        kind = type(times).__name__
        raise TypeError(f"can't multiply sequence by non-int of type {kind!r}")
    times = _index(times)
    if times <= 0:
        return _list_clear(value)
    _limit(_size(value) * times)
    # Two places of the tree never share a container.
    more = [own(item) for _ in range(times - 1) for item in value]
    return None, [edits.splice(value, len(value), 0, more)]


def own(value: Any) -> Any:
    """A copy of a value in which no container is shared with the value."""
    if type(value) is dict:
        return {key: own(item) for key, item in value.items()}
    if type(value) is list:
        return [own(item) for item in value]
    if type(value) is tuple:
        return tuple([own(item) for item in value])
    return value


# --- operators -----------------------------------------------------------------------------


def _size(value: Any) -> int:
    """About the bytes that are made when a text or a sequence is repeated."""
    if isinstance(value, str | bytes):
        return len(value)
    return edits.size_of(value, MAX_DEPTH + 1) if isinstance(value, list | tuple) else 0


def _mul(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _limit(left.bit_length() + right.bit_length(), MAX_BITS, "bits")
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and times > 1:
            _limit(_size(value) * times)
    return left * right


def _pow(left: Any, right: Any, /) -> Any:
    for value in (left, right):
        if isinstance(value, Decimal):
            _limit(len(value.as_tuple().digits), MAX_DIGITS, "digits")
    if isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
        _limit(left.bit_length() * right, MAX_BITS, "bits")
    result = left**right
    if isinstance(result, complex):
        raise ValueError("the result is no real number")
    return result


def _mod(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes):
        raise TypeError("a text cannot be formatted here")
    return left % right


def _lshift(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left:
        _limit(left.bit_length() + max(0, right), MAX_BITS, "bits")
    return left << right


def _int(value: Any, /) -> int:
    if isinstance(value, Decimal) and value.is_finite():
        _limit(value.adjusted() * DIGIT_BITS, MAX_BITS, "bits")
    return int(value)


def _round(value: Any, digits: Any = None, /) -> Any:
    if digits is None:
        if isinstance(value, Decimal):
            _int(value)
        return round(value)
    if isinstance(value, int):
        _limit(abs(operator.index(digits)) * DIGIT_BITS, MAX_BITS, "bits")
    return round(value, digits)


_COMPARISONS: dict[str, Callable[..., Any]] = {
    "__eq__": operator.eq,
    "__ne__": operator.ne,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
    "__bool__": bool,
}

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": _mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": _mod,
    "pow": _pow,
}

_BITWISE: dict[str, Callable[..., Any]] = {
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": _lshift,
    "rshift": operator.rshift,
}

_UNARY: dict[str, Callable[..., Any]] = {
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": abs,
    "__round__": _round,
    "__int__": _int,
    "__float__": float,
    "__divmod__": divmod,
    "__rdivmod__": lambda right, left: divmod(left, right),
}

_SEQUENCE: dict[str, Callable[..., Any]] = {
    "__getitem__": _subscript,
    "__len__": len,
    "__iter__": _listed,
    "__contains__": operator.contains,
}


def _swapped(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda right, left: call(left, right)


def _binary(calls: dict[str, Callable[..., Any]]) -> dict[str, Operation]:
    """``+``, the same with the stored value on the right, and ``+=`` for each operator."""
    table = {}
    for name, call in calls.items():
        table[f"__{name}__"] = Operation("read", call)
        table[f"__r{name}__"] = Operation("read", _swapped(call))
        table[f"__i{name}__"] = Operation("replace", call)
    return table


def _reads(calls: dict[str, Callable[..., Any]], stored: bool = False) -> dict[str, Operation]:
    return {name: Operation("read", call, stored) for name, call in calls.items()}


def _methods(kind: type[Any], names: str) -> dict[str, Operation]:
    return _reads({name: getattr(kind, name) for name in names.split()})


def _writes(calls: dict[str, Callable[..., Plan]]) -> dict[str, Operation]:
    return {name: Operation("write", call) for name, call in calls.items()}


# --- str: methods whose result can be far larger than what was sent ----------------------------


def _padded(method: Callable[..., Any]) -> Callable[..., Any]:
    def pad(value: Any, width: Any, /, *more: Any) -> Any:
        _limit(operator.index(width))
        return method(value, width, *more)

    return pad


def _replace(value: Any, old: Any, new: Any, count: Any = -1, /) -> Any:
    times = value.count(old)
    if operator.index(count) >= 0:
        times = min(times, count)
    _limit(len(value) + times * len(new))
    return value.replace(old, new, count)


def _expandtabs(value: Any, /, tabsize: Any = 8) -> Any:
    _limit(len(value) + value.count("\t") * max(0, operator.index(tabsize)))
    return value.expandtabs(tabsize)


def _join(value: Any, items: Any, /) -> Any:
    parts = _listed(items)
    _limit(len(value) * len(parts))
    return value.join(parts)


def _translate(value: Any, table: Any, /) -> Any:
    new = table.values() if isinstance(table, dict) else table if _size(table) else ()
    _limit(len(value) * max([len(text) for text in new if isinstance(text, str)], default=1))
    return value.translate(table)


def _coded(method: Callable[..., Any]) -> Callable[..., Any]:
    def convert(value: Any, /, encoding: Any = "utf-8", errors: Any = "strict") -> Any:
        if codecs.lookup(encoding).name not in ENCODINGS:
            raise LookupError(f"{encoding!r} is none of the encodings {sorted(ENCODINGS)}")
        return method(value, encoding, errors)

    return convert


def _to_bytes(
    value: int, /, length: Any = 1, byteorder: Any = "big", *, signed: Any = False
) -> bytes:
    _limit(operator.index(length))
    return value.to_bytes(length, byteorder, signed=bool(signed))


_COMMON = _reads(_COMPARISONS)
_ADD_MUL = {name: _ARITHMETIC[name] for name in ("add", "mul")}

_DICT = {
    **_COMMON,
    **_reads(
        {
            "__getitem__": _subscript,
            "__iter__": list,
            "__reversed__": lambda value: list(reversed(value)),
            "keys": list,
            "values": lambda value: list(value.values()),
            "items": _items,
            "get": dict.get,
            "copy": _copy,
        },
        stored=True,
    ),
    **_reads(
        {
            "__len__": len,
            "__contains__": operator.contains,
            "__or__": operator.or_,
            "__ror__": _swapped(operator.or_),
        }
    ),
    **_writes(
        {
            "__setitem__": _dict_set,
            "__delitem__": _dict_delete,
            "clear": _dict_clear,
            "pop": _dict_pop,
            "popitem": _dict_popitem,
            "setdefault": _dict_setdefault,
            "update": _dict_update,
            "__ior__": _dict_ior,
        }
    ),
}

_LIST = {
    **_COMMON,
    **_reads(
        {
            "__getitem__": _subscript,
            "__iter__": list,
            "__reversed__": lambda value: value[::-1],
            "copy": _copy,
        },
        stored=True,
    ),
    **_reads(
        {
            "__len__": len,
            "__contains__": operator.contains,
            "__add__": operator.add,
            "__radd__": _swapped(operator.add),
            "__mul__": _mul,
            "__rmul__": _mul,
            "count": list.count,
            "index": list.index,
        }
    ),
    **_writes(
        {
            "__setitem__": _list_set,
            "__delitem__": _list_delete,
            "append": _list_append,
            "clear": _list_clear,
            "extend": _list_extend,
            "insert": _list_insert,
            "pop": _list_pop,
            "remove": _list_remove,
            "reverse": _list_reverse,
            "sort": _list_sort,
            "__iadd__": _list_extend,
            "__imul__": _list_imul,
        }
    ),
}

_TEXT = """capitalize casefold count endswith find index isalnum isalpha isascii isdecimal
    isdigit isidentifier islower isnumeric isprintable isspace istitle isupper lower lstrip
    partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper"""

_STR = {
    **_COMMON,
    **_reads(_SEQUENCE),
    **_binary(_ADD_MUL),
    **_methods(str, _TEXT),
    **_reads(
        {
            "center": _padded(str.center),
            "ljust": _padded(str.ljust),
            "rjust": _padded(str.rjust),
            "zfill": _padded(str.zfill),
            "replace": _replace,
            "expandtabs": _expandtabs,
            "join": _join,
            "translate": _translate,
            "encode": _coded(str.encode),
            "__str__": str,
        }
    ),
}

_BYTES = {
    **_COMMON,
    **_reads(_SEQUENCE),
    **_binary(_ADD_MUL),
    **_methods(bytes, "count endswith find hex index lower split startswith strip upper"),
    **_reads({"decode": _coded(bytes.decode)}),
}

_NUMBER = {**_COMMON, **_binary(_ARITHMETIC), **_reads(_UNARY)}

_INT = {
    **_NUMBER,
    **_binary(_BITWISE),
    **_methods(int, "as_integer_ratio bit_count bit_length conjugate"),
    **_reads({"to_bytes": _to_bytes, "__invert__": operator.invert, "__index__": operator.index}),
}

_SET = {
    **_COMMON,
    **_reads({name: _SEQUENCE[name] for name in ("__len__", "__iter__", "__contains__")}),
    **_binary({name: _BITWISE[name] for name in ("and", "or", "xor")}),
    **_binary({"sub": operator.sub}),
}

_SET_METHODS = "difference intersection isdisjoint issubset issuperset symmetric_difference union"
_TIMES = {name: computed(_ARITHMETIC[name]) for name in ("add", "sub")}

TABLE: dict[type[Any], dict[str, Operation]] = {
    dict: _DICT,
    list: _LIST,
    str: _STR,
    bytes: _BYTES,
    int: _INT,
    bool: _INT,
    float: {
        **_NUMBER,
        **_methods(float, "as_integer_ratio conjugate hex is_integer"),
    },
    Decimal: {**_NUMBER, **_methods(Decimal, "is_nan is_infinite is_signed normalize quantize")},
    tuple: {
        **_COMMON,
        **_reads(_SEQUENCE),
        **_binary(_ADD_MUL),
        **_methods(tuple, "count index"),
    },
    set: {**_SET, **_methods(set, _SET_METHODS)},
    frozenset: {**_SET, **_methods(frozenset, _SET_METHODS)},
    datetime: {
        **_reads(
            {
                name: call if name == "__bool__" else computed(call)
                for name, call in _COMPARISONS.items()
            }
        ),
        **_binary(_TIMES),
        **_methods(datetime, "date isoformat isoweekday time timestamp weekday"),
    },
    date: {**_COMMON, **_binary(_TIMES), **_methods(date, "isoformat isoweekday weekday")},
    time: {**_COMMON, **_methods(time, "isoformat")},
    timedelta: {**_COMMON, **_binary(_TIMES), **_methods(timedelta, "total_seconds")},
    UUID: _COMMON,
    File: _COMMON,
    Custom: _COMMON,
    type(None): _COMMON,
}

"""What can be done to a stored value: one table, ``(type, function) -> Operation``.

The table is the allow-list. A function that is not in it does not exist, whatever Python has
under that name; nothing is ever looked up as an attribute. There are three kinds:

- "read": ``call(value, *args, **kwargs)`` returns the result and changes nothing.
- "write": ``call(container, *args, **kwargs)`` changes nothing either; it returns a plan
  (containers.py): the result, and the edits (edits.py) that will do the work and take it back.
- "replace": ``call(value, *args)`` returns the value that takes the place of this one, for the
  in-place operators of values that are not containers: ``db['x'] += 1``.

Each raises what Python raises, and OverflowError for a result over the limits (limits.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from pyzdb.operations import containers, scalars
from pyzdb.operations.containers import Plan
from pyzdb.operations.scalars import swapped
from pyzdb.paths import Value
from pyzdb.values.types import Custom, File
from pyzdb.values.zones import computed

Kind = Literal["read", "write", "replace"]
"""What an operation does to the tree."""


class Operation(msgspec.Struct, frozen=True):
    """One line of the table. ``stored``: the result is made of nothing but what is stored and
    the arguments, without a new tuple or key."""

    kind: Kind
    call: Callable[..., Value]
    stored: bool = False


REMOVING = frozenset({"__delitem__", "clear", "pop", "popitem", "remove"})
"""Functions that only make the tree smaller: what one does to make room on a full disk."""

_COMPARISONS: dict[str, Callable[..., Value]] = {
    "__eq__": operator.eq,
    "__ne__": operator.ne,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
    "__bool__": bool,
}

_ARITHMETIC: dict[str, Callable[..., Value]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": scalars.multiply,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": scalars.modulo,
    "pow": scalars.power,
}

_BITWISE: dict[str, Callable[..., Value]] = {
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": scalars.shift_left,
    "rshift": operator.rshift,
}

_UNARY: dict[str, Callable[..., Value]] = {
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": abs,
    "__round__": scalars.rounded,
    "__int__": scalars.to_int,
    "__float__": float,
    "__divmod__": divmod,
    "__rdivmod__": lambda right, left: divmod(left, right),
}

_SEQUENCE: dict[str, Callable[..., Value]] = {
    "__getitem__": operator.getitem,
    "__len__": len,
    "__iter__": containers.listed,
    "__contains__": operator.contains,
}


def _binary(calls: dict[str, Callable[..., Value]]) -> dict[str, Operation]:
    """``+``, the same with the stored value on the right, and ``+=`` for each operator."""
    table = {}
    for name, call in calls.items():
        table[f"__{name}__"] = Operation("read", call)
        table[f"__r{name}__"] = Operation("read", swapped(call))
        table[f"__i{name}__"] = Operation("replace", call)
    return table


def _reads(calls: dict[str, Callable[..., Value]], stored: bool = False) -> dict[str, Operation]:
    return {name: Operation("read", call, stored) for name, call in calls.items()}


def _methods(kind: type[Any], names: str) -> dict[str, Operation]:
    return _reads({name: getattr(kind, name) for name in names.split()})


def _writes(calls: dict[str, Callable[..., Plan]]) -> dict[str, Operation]:
    return {name: Operation("write", call) for name, call in calls.items()}


_COMMON = _reads(_COMPARISONS)
_ADD_MUL = {name: _ARITHMETIC[name] for name in ("add", "mul")}

_DICT = {
    **_COMMON,
    **_reads(
        {
            "__getitem__": operator.getitem,
            "__iter__": list,
            "__reversed__": lambda value: list(reversed(value)),
            "keys": list,
            "values": lambda value: list(value.values()),
            "items": containers.items,
            "get": dict.get,
            "copy": containers.copy,
        },
        stored=True,
    ),
    **_reads(
        {
            "__len__": len,
            "__contains__": operator.contains,
            "__or__": operator.or_,
            "__ror__": swapped(operator.or_),
        }
    ),
    **_writes(
        {
            "__setitem__": containers.dict_set,
            "__delitem__": containers.dict_delete,
            "clear": containers.dict_clear,
            "pop": containers.dict_pop,
            "popitem": containers.dict_popitem,
            "setdefault": containers.dict_setdefault,
            "update": containers.dict_update,
            "__ior__": containers.dict_ior,
        }
    ),
}

_LIST = {
    **_COMMON,
    **_reads(
        {
            "__getitem__": operator.getitem,
            "__iter__": list,
            "__reversed__": lambda value: value[::-1],
            "copy": containers.copy,
        },
        stored=True,
    ),
    **_reads(
        {
            "__len__": len,
            "__contains__": operator.contains,
            "__add__": operator.add,
            "__radd__": swapped(operator.add),
            "__mul__": scalars.multiply,
            "__rmul__": scalars.multiply,
            "count": list.count,
            "index": list.index,
        }
    ),
    **_writes(
        {
            "__setitem__": containers.list_set,
            "__delitem__": containers.list_delete,
            "append": containers.list_append,
            "clear": containers.list_clear,
            "extend": containers.list_extend,
            "insert": containers.list_insert,
            "pop": containers.list_pop,
            "remove": containers.list_remove,
            "reverse": containers.list_reverse,
            "sort": containers.list_sort,
            "__iadd__": containers.list_extend,
            "__imul__": containers.list_imul,
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
            "center": scalars.padded(str.center),
            "ljust": scalars.padded(str.ljust),
            "rjust": scalars.padded(str.rjust),
            "zfill": scalars.padded(str.zfill),
            "replace": scalars.replace,
            "expandtabs": scalars.expandtabs,
            "join": scalars.join,
            "translate": scalars.translate,
            "encode": scalars.coded(str.encode),
            "__str__": str,
        }
    ),
}

_BYTES = {
    **_COMMON,
    **_reads(_SEQUENCE),
    **_binary(_ADD_MUL),
    **_methods(bytes, "count endswith find hex index lower split startswith strip upper"),
    **_reads({"decode": scalars.coded(bytes.decode)}),
}

_NUMBER = {**_COMMON, **_binary(_ARITHMETIC), **_reads(_UNARY)}

_INT = {
    **_NUMBER,
    **_binary(_BITWISE),
    **_methods(int, "as_integer_ratio bit_count bit_length conjugate"),
    **_reads(
        {"to_bytes": scalars.to_bytes, "__invert__": operator.invert, "__index__": operator.index}
    ),
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

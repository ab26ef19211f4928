"""Every operation of the table does on a tree what Python does on the same plain value."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pyzdb.engine.tree import Tree
from pyzdb.errors import OperationError, PyzdbError
from pyzdb.operations.edits import Change
from pyzdb.operations.table import TABLE
from pyzdb.protocol.commands import Command
from pyzdb.values import Custom, File
from tests.support.strategies import same

HUGE = 10**30

STORED: list[Any] = [
    {},
    {"a": 1, "b": [1, 2], 3: None},
    {1: "one", (1, 2): "pair", None: 0, "a": {"b": 1}},
    [],
    [3, 1, 2],
    [1, "a", None, [1], {"k": 2}],
    [[2], [1]],
    "",
    "Hello a\tWorld",
    b"",
    b"hello a",
    0,
    7,
    -3,
    HUGE,
    True,
    False,
    0.0,
    2.5,
    float("nan"),
    float("inf"),
    Decimal("2.50"),
    Decimal("NaN"),
    (),
    (1, "a", [2]),
    {1, "a"},
    set(),
    frozenset({1, 2}),
    datetime(2024, 1, 2, 3, 4, 5),
    datetime(2024, 1, 2, tzinfo=UTC),
    date(2024, 1, 2),
    time(3, 4, 5),
    timedelta(days=1, seconds=2),
    UUID(int=5),
    File("/srv/a.pdf"),
    Custom("point", {"x": 1}),
    None,
]

SINGLE: list[Any] = [
    # The items of a set come in another order in Python.
    *[value for value in STORED if value != {1, "a"}],
    1,
    -1,
    2,
    "a",
    "utf-8",
    "no encoding",
    ["a", "b"],
    [["k", 1], ("a", 2)],
    [["k", 1, 2]],
    [["k", 1], 5],
    {"k": 1},
    {97: "xy"},
    slice(None),
    slice(0, 2),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(2, 0),
    slice(None, None, 0),
    slice(5, 9),
    (1, 2),
]

SEVERAL: list[tuple[Any, ...]] = [
    (0, "x"),
    (-1, "x"),
    (9, "x"),
    (HUGE, "x"),
    ("a", 1),
    ("a", "o"),
    (1, 2),
    (True, 5),
    ("new", [1]),
    ([], 1),
    (None, None),
    ((1, 2), 3),
    (slice(0, 2), ["p", "q", "r"]),
    (slice(None, None, 2), ["p", "q"]),
    (slice(None, None, 2), ["p"]),
    (slice(None, None, -1), "xyz"),
    (slice(2, 0), [0]),
    (slice(0, 1), 5),
    (slice(0, 1), {"k": 1}),
    (2.5, "x"),
    ("l", "L", 1),
    (1, 0, 9),
]

NAMED: list[dict[str, Any]] = [
    {"reverse": True},
    {"reverse": None},
    {"c": 1, "a": 2},
    {"key": 1},
    {"encoding": "ascii", "errors": "replace"},
    {"sep": None, "maxsplit": 1},
    {"keepends": True},
    {"tabsize": 4},
    {"length": 20, "byteorder": "little", "signed": True},
]

ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    *[((one,), {}) for one in SINGLE],
    *[(several, {}) for several in SEVERAL],
    *[((), named) for named in NAMED],
]


TAKES_SLICE = ("__getitem__", "__setitem__", "__delitem__")


def _statement(text: str) -> Callable[..., Any]:
    """Python's own statement on ``root["v"]``, with ``x`` and ``y`` for the arguments."""
    names = "x, y" if "y" in text.replace("key", "") else "x"

    def run(root: dict[str, Any], *args: Any) -> Any:
        if len(args) != names.count(",") + 1:
            raise TypeError("wrong number of arguments")
        scope = {"root": root, **dict(zip(("x", "y"), args, strict=False))}
        exec(text, scope)
        return scope.get("result")

    return run


BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "and": "&",
    "or": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}
PYTHON: dict[str, Callable[..., Any]] = {
    "__setitem__": _statement("root['v'][x] = y"),
    "__delitem__": _statement("del root['v'][x]"),
    "__getitem__": _statement("result = root['v'][x]"),
    "__contains__": _statement("result = x in root['v']"),
    "__divmod__": _statement("result = divmod(root['v'], x)"),
    "__rdivmod__": _statement("result = divmod(x, root['v'])"),
}
for _name, _sign in BINARY.items():
    PYTHON[f"__{_name}__"] = _statement(f"result = root['v'] {_sign} x")
    PYTHON[f"__r{_name}__"] = _statement(f"result = x {_sign} root['v']")
    PYTHON[f"__i{_name}__"] = _statement(f"root['v'] {_sign}= x")
for _name, _sign in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    PYTHON[f"__{_name}__"] = _statement(f"result = root['v'] {_sign} x")

BUILT_IN: dict[str, Callable[..., Any]] = {
    "__len__": len,
    "__iter__": list,
    "__reversed__": lambda value: list(reversed(value)),
    "__bool__": bool,
    "__abs__": abs,
    "__round__": round,
    "__int__": lambda value: int(value),
    "__float__": lambda value: float(value),
    "__str__": lambda value: str(value),
    "__neg__": lambda value: -value,
    "__pos__": lambda value: +value,
    "__invert__": lambda value: ~value,
    "__index__": lambda value: value.__index__(),
}


def in_python(root: dict[str, Any], func: str, args: Any, named: Any) -> Any:
    if type(root["v"]) is dict and args and type(args[0]) is slice:
        raise TypeError("a slice is not a key, in older Pythons")
    if func in PYTHON:
        return PYTHON[func](root, *args, **named)
    if func in BUILT_IN:
        return BUILT_IN[func](root["v"], *args, **named)
    return attrgetter(func)(root["v"])(*args, **named)


def on_a_tree(root: dict[str, Any], func: str, args: Any, named: Any) -> Any:
    tree = Tree(root, plain=False)
    command = Command(("v",), func, args, named)
    value, operation = tree.operation(command)
    assert operation is not None
    if operation.kind == "read":
        return tree.read(command, value, operation)
    before = copy.deepcopy(root)
    changes: list[Change] = []
    result = tree.write(command, value, operation, False, changes)
    after = copy.deepcopy(root)
    result = copy.deepcopy(result)
    tree.revert(changes)
    assert same(root, before)
    tree.redo(changes)
    assert same(root, after)
    return result


def outcome(run: Callable[..., Any], value: Any, func: str, args: Any, named: Any) -> Any:
    """(kind of the error, result, root) of a call on a copy of the value."""
    root = {"first": 0, "v": copy.deepcopy(value), "last": 0}
    args, named = copy.deepcopy((args, named))
    try:
        result = run(root, func, args, named)
    except Exception as error:
        for kind in (KeyError, IndexError, TypeError, ValueError):
            if isinstance(error, kind):
                return kind, None, root
        return Exception, None, root
    if func in ("keys", "values"):
        result = list(result)
    elif func == "items":
        result = [list(pair) for pair in result]
    return None, result, root


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        # The items of a set come in an order of their own.
        return same(left, right) or sorted(map(repr, left)) == sorted(map(repr, right))
    return same(left, right)


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_an_operation_does_what_python_does(kind: type[Any]) -> None:
    for value in STORED:
        if type(value) is not kind:
            continue
        for func in TABLE[kind]:
            for args, named in ARGUMENTS:
                ours = outcome(on_a_tree, value, func, args, named)
                if _refused(func, value, args, named, ours[0]):
                    assert same(ours[2]["v"], value)
                    continue
                python = outcome(in_python, value, func, args, named)
                assert ours[0] is python[0], (value, func, args, named, ours, python)
                assert equal(ours[1], python[1]), (value, func, args, named, ours, python)
                after = python[2] if ours[0] is None else {"first": 0, "v": value, "last": 0}
                assert same(ours[2], after), (value, func, args, named, ours, python)


def _refused(func: str, value: Any, args: Any, named: Any, error: Any) -> bool:
    """What Python does and we do not: it cannot be sent or stored, is a format, or too large."""
    if error is TypeError:
        return (
            (func not in TAKES_SLICE and any(type(arg) is slice for arg in args))
            or (func == "sort" and "key" in named)
            or (func == "__rmod__" and type(args[0] if args else None) in (str, bytes))
        )
    return (
        (error is Exception and (HUGE in (value, *args) or func in ("encode", "decode")))
        # The result is a complex number.
        or (error is ValueError and func.endswith("pow__"))
    )


# --- refused, since a short message could ask for it -----------------------------------------


TOO_LARGE: list[tuple[Any, str, tuple[Any, ...]]] = [
    ("x", "__mul__", (10**12,)),
    ("x", "__rmul__", (10**12,)),
    ("x", "__imul__", (10**12,)),
    (10**9, "__mul__", ("x",)),
    ([0], "__mul__", (10**9,)),
    ([0], "__imul__", (10**9,)),
    (["x" * 10_000], "__imul__", (20_000,)),
    (["x" * 10_000], "__mul__", (20_000,)),
    ([{"a": [0] * 1000}], "__imul__", (2_000,)),
    ((("x" * 10_000,),), "__imul__", (20_000,)),
    (b"x", "__mul__", (10**12,)),
    ("x", "center", (10**12,)),
    ("x", "ljust", (10**12, " ")),
    ("x", "rjust", (10**12,)),
    ("x", "zfill", (10**12,)),
    ("x" * 100_000, "replace", ("x", "y" * 10_000)),
    ("x" * 100_000, "replace", ("", "y" * 10_000)),
    ("x" * 100_000, "translate", ({120: "y" * 10_000},)),
    ("\t", "expandtabs", (10**12,)),
    ("x" * 100_000, "join", ("y" * 10_000,)),
    (7, "__pow__", (10**9,)),
    (10**9, "__rpow__", (7,)),
    (7, "__ipow__", (10**9,)),
    (1, "__lshift__", (10**12,)),
    (10**12, "__rlshift__", (1,)),
    (5, "__round__", (-(10**9),)),
    (5, "to_bytes", (10**12,)),
    (Decimal("1E+999999999"), "__int__", ()),
    (Decimal("1E+999999999"), "__round__", ()),
    (Decimal("1." + "7" * 20_000), "__pow__", (Decimal("1.5"),)),
    (Decimal("1.5"), "__rpow__", (Decimal("1." + "7" * 20_000),)),
]


@pytest.mark.parametrize(("value", "func", "args"), TOO_LARGE, ids=lambda part: repr(part)[:20])
def test_a_result_that_would_be_too_large_is_refused(
    value: Any, func: str, args: tuple[Any, ...]
) -> None:
    root = {"v": copy.deepcopy(value)}
    with pytest.raises(OperationError, match="too large"):
        on_a_tree(root, func, args, {})
    assert same(root, {"v": value})


@pytest.mark.parametrize("func", ["__rmod__", "__imod__"])
def test_a_number_formats_no_text(func: str) -> None:
    with pytest.raises(PyzdbError):
        on_a_tree({"v": 5}, func, ("%1000000000d",), {})


def test_a_large_result_within_the_limit_is_made() -> None:
    assert len(on_a_tree({"v": "x"}, "__mul__", (1_000_000,), {})) == 1_000_000
    assert len(on_a_tree({"v": [0]}, "__mul__", (1_000_000,), {})) == 1_000_000
    assert on_a_tree({"v": "x" * 1000}, "replace", ("x", "y" * 1_000_000, 1), {}).count("x") == 999
    assert on_a_tree({"v": 1}, "__pow__", (10**12,), {}) == 1


@pytest.mark.parametrize("encoding", ["idna", "punycode", "rot13", "zip", "unicode_escape"])
def test_an_encoding_that_takes_too_long_is_refused(encoding: str) -> None:
    with pytest.raises(OperationError, match="is not one of \\['ascii'"):
        on_a_tree({"v": b"x"}, "decode", (encoding,), {})


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_no_format_and_nothing_private_is_in_the_table(kind: type[Any]) -> None:
    for func in TABLE[kind]:
        assert func not in ("format", "format_map", "__format__", "__mod__" if kind is str else "")
        assert not func.startswith("_") or func.startswith("__")
        assert "attr" not in func
        assert "class" not in func


# --- the same in every process ---------------------------------------------------------------

REPLAYED = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.unit.operations.test_operations import replayed
print(replayed())
"""

WORDS = {"apple", "pear", "plum", "fig", "quince", "cherry"}
PAIRS = {("a", 1), ("b", 2), ("c", 3), ("d", 4)}
SETS: list[tuple[Any, str, tuple[Any, ...]]] = [
    ([], "extend", (WORDS,)),
    ([], "__iadd__", (frozenset(WORDS),)),
    ([1, 2, 3], "__setitem__", (slice(1, 2), WORDS)),
    ([1, 2, 3, 4, 5, 6], "__setitem__", (slice(None, None, -1), WORDS)),
    ([], "extend", ({frozenset(WORDS), ("a", frozenset(WORDS)), (frozenset({"a"}),), "a", 1},)),
    ({}, "update", (PAIRS,)),
    ({}, "__ior__", (PAIRS,)),
    ({}, "update", ([{"x", "y"}, frozenset({"p", "q"})],)),
    (WORDS, "__iter__", ()),
    ("-", "join", (WORDS,)),
]


def replayed() -> str:
    """What these operations make, as text in which every order shows."""
    made = []
    for value, func, args in SETS:
        root: dict[str, Any] = {"v": value}
        result = on_a_tree(root, func, args, {})
        made.append(result if result is not None else root["v"])
    return repr([[_text(item) for item in one] for one in map(_items, made)])


def _items(value: Any) -> list[Any]:
    return list(value.items()) if isinstance(value, dict) else list(value)


def _text(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + " ".join(sorted(map(_text, value))) + "}"
    return f"({' '.join(map(_text, value))})" if isinstance(value, tuple) else repr(value)


def test_the_items_of_a_set_come_in_the_same_order_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", REPLAYED, str(Path(__file__).parents[3])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert printed == {replayed() + "\n"}


def test_a_decimal_is_computed_alike_whatever_the_process_uses() -> None:
    root = {"v": Decimal(1)}
    with localcontext() as context:
        context.prec = 5
        on_a_tree(root, "__itruediv__", (3,), {})
    assert root["v"] == Decimal(1) / Decimal(3)

"""What can be stored: it comes back as it was, or it is refused with the path to the bad part."""

from __future__ import annotations

import collections
import copy
import enum
import json
import math
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.errors import EncodingError
from pyzdb.values import Custom, File, Lazy
from pyzdb.values.plain import BIG_INT, MANY, MAX_DEPTH, TAG, is_plain, too_deep
from pyzdb.values.tags import argument_from_wire, argument_to_wire, dumps, from_wire, loads, to_wire
from tests.support.strategies import BAD, KEYS, PLAIN, VALUES, WIRES, nested, same

# --- round trips -----------------------------------------------------------------------------


@given(value=VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(loads(dumps(value)), value)


@given(value=VALUES)
def test_a_value_is_left_as_it_is_by_being_encoded(value: Any) -> None:
    before = copy.deepcopy(value)
    dumps(value)
    assert same(value, before)


@given(value=VALUES)
def test_what_is_sent_is_json(value: Any) -> None:
    json.loads(dumps(value), parse_constant=pytest.fail)


def shown(value: Any) -> str:
    """The name of a test with a value, the same in every process."""
    return re.sub(r" at 0x\w+", "", repr(value))


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        5e-324,
        1.7976931348623157e308,
        [1, 1.0, True],
        {1: "int", "1": "str", None: "none", 2.5: "float", (1, "a"): "tuple"},
        {True: "bool"},
        {math.inf: 1},
        {TAG: "tuple", "items": 5},
        {TAG: {TAG: {TAG: TAG}}},
        {"a": {TAG: None}},
        [(), [], {}, set(), frozenset()],
        ((1, [2, (3,)]), {"a": (4,)}),
        {"b": 1, "a": 2},
        {2: "b", 1: "a"},
        "\0\u2028\U0001f600\uffff\U0010ffff",
        b"",
        bytes(range(256)),
        Decimal("-0"),
        Decimal("1.10"),
        Decimal("NaN123"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1e999999999"),
        Decimal("0." + "123456789" * 20),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2024, 10, 27, 2, 30, fold=0, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(1, 1, 1, fold=1),
        datetime.max,
        time(1, 2, 3, 4, fold=1, tzinfo=ZoneInfo("Asia/Tokyo")),
        date.min,
        timedelta.max,
        timedelta(microseconds=-1),
        UUID(int=0),
        [UUID(int=2**128 - 1), {frozenset({(1, frozenset())})}],
        File("/srv/in/report.pdf"),
        File("/srv/bigfiles/1-report.pdf", "report.pdf"),
        File(filename="a.bin", content=b"\0\xff"),
    ],
    ids=shown,
)
def test_an_odd_value_comes_back_as_it_was(value: Any) -> None:
    assert same(loads(dumps(value)), value)


def test_integers_of_any_size_come_back() -> None:
    for value in (2**63, 2**64, -(2**64), BIG_INT - 1, BIG_INT, -BIG_INT, 10**5000, -(7**9000)):
        assert loads(dumps([value])) == [value]
        assert loads(dumps({value: 1})) == {value: 1}


def test_a_moment_keeps_its_zone_and_not_only_its_offset() -> None:
    summer = datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Paris"))
    back = loads(dumps(summer))
    assert back + timedelta(days=180) == summer + timedelta(days=180)
    assert str(back.tzinfo) == "Europe/Paris"


def test_a_plain_value_is_sent_without_a_copy() -> None:
    value = {"a": [1, 2.5, None, True, {"b": "c"}]}
    wire, tagged = to_wire(value)
    assert wire is value
    assert not tagged


def test_what_is_read_reuses_the_containers_of_the_message() -> None:
    wire = {"a": [1, {"b": "c"}]}
    assert from_wire(wire) is wire


# --- what becomes a built-in type ------------------------------------------------------------


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


class Moment(datetime):
    def isoformat(self, *args: Any, **kwargs: Any) -> str:
        return "once upon a time"


class Price(Decimal):
    def __str__(self) -> str:
        return "a price"


class Text(str):
    def __str__(self) -> str:
        return "another text"


class Words(list[Any]):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (range(3), [0, 1, 2]),
        ((n * n for n in range(3)), [0, 1, 4]),
        (map(str, [1]), ["1"]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [("a", 1)]),
        (reversed([1, 2]), [2, 1]),
        (collections.deque([1]), [1]),
        ([range(2), {"r": range(1)}], [[0, 1], {"r": [0]}]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, a=[]), {"a": []}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (collections.ChainMap({1: 2}), {1: 2}),
        (Words([1]), [1]),
        (Point(1, 2), (1, 2)),
        (Colour.RED, "red"),
        ({Colour.RED: 1}, {"red": 1}),
        (Number.ONE, 1),
        ({Number.ONE: Number.ONE}, {1: 1}),
        (Text("text"), "text"),
        (bytearray(b"a"), b"a"),
        (Price("1.50"), Decimal("1.50")),
        (Moment(2024, 1, 2, 3), datetime(2024, 1, 2, 3)),
        (type("Sub", (date,), {})(2024, 1, 2), date(2024, 1, 2)),
        (type("Sub", (timedelta,), {})(1), timedelta(1)),
        (type("Sub", (UUID,), {})(int=1), UUID(int=1)),
        (type("Sub", (float,), {})(1.5), 1.5),
        (type("Sub", (float,), {})("-inf"), -math.inf),
        (type("Sub", (set,), {})([1]), {1}),
        (type("Sub", (frozenset,), {})([1]), frozenset([1])),
        (type("Sub", (File,), {})("/a"), File("/a")),
    ],
    ids=shown,
)
def test_it_becomes_the_built_in_type_that_it_is_a_kind_of(value: Any, expected: Any) -> None:
    assert same(loads(dumps(value)), expected)


def test_a_zone_without_a_name_becomes_its_offset() -> None:
    class Lunch(tzinfo):
        def utcoffset(self, moment: datetime | None) -> timedelta:
            return timedelta(hours=1)

        def dst(self, moment: datetime | None) -> None:
            return None

        def tzname(self, moment: datetime | None) -> str:
            return "lunch"

    value = datetime(2024, 1, 1, tzinfo=Lunch())
    back = loads(dumps(value))
    assert back == value
    assert back.tzinfo == timezone(timedelta(hours=1))


class Elsewhere(Lazy):
    """A value that lies in another place; to iterate over it would be another query."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def _run(self) -> Any:
        return self.value

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("a lazy value is fetched whole")


def test_a_lazy_value_is_replaced_by_what_it_stands_for() -> None:
    assert loads(dumps(Elsewhere(3))) == 3
    assert loads(dumps({"a": [Elsewhere({"b": (1,)}), {1: Elsewhere([])}]})) == {
        "a": [{"b": (1,)}, {1: []}]
    }


# --- what is refused -------------------------------------------------------------------------


class Plain(enum.Enum):
    A = 1


class Thing:
    def __repr__(self) -> str:
        return "<thing>"


ODD_NAMES: Any = {1: 1}


def cycle() -> Any:
    value: Any = {"a": [1]}
    value["a"].append(value)
    return value


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (Thing(), (), "a value of type Thing cannot be stored"),
        ({"a": [1, Thing()]}, ("a", 1), "a value of type Thing cannot be stored"),
        ({"a": ({"b": Thing()},)}, ("a", 0, "b"), "db['a'][0]['b']: a value of type Thing"),
        ({1: Thing()}, (1,), "db[1]"),
        ({"a": {Thing: 1}}, ("a", Thing), "a value of type type cannot be stored"),
        ({"a": print}, ("a",), "builtin_function"),
        (1 + 2j, (), "a value of type complex cannot be stored"),
        (Fraction(1, 3), (), "a value of type Fraction cannot be stored"),
        (memoryview(b"a"), (), "a value of type memoryview cannot be stored"),
        ([slice(1)], (0,), "a value of type slice cannot be stored"),
        (Plain.A, (), "a value of type Plain cannot be stored"),
        (cycle(), ("a", 1), "a cycle cannot be stored"),
        ("a\ud800", (), "a lone surrogate"),
        ({"a": ["b", "\udfff"]}, ("a", 1), "db['a'][1]: a lone surrogate"),
        ({"a": {"\ud800": 1}}, ("a", "\ud800"), "a lone surrogate"),
        ({"a": ("b", "\ud800")}, ("a", 1), "a lone surrogate"),
        ({1: {"\ud800": ()}}, (1, "\ud800"), "a lone surrogate"),
        ({"a": {("\ud800",): 1}}, ("a", ("\ud800",), 0), "a lone surrogate"),
        ({"a": {"\ud800"}}, ("a", 0), "a lone surrogate"),
        ({"a": (text for text in ("b", "\ud800"))}, ("a", 1), "a lone surrogate"),
        ({"a": File("/\ud800", "b")}, ("a",), "a lone surrogate"),
        ({"a": File("/b", "\ud800")}, ("a",), "a lone surrogate"),
        ({"a": Custom("\ud800", {})}, ("a",), "a lone surrogate"),
        ({"a": Custom("b", {"c": "\ud800"})}, ("a", "c"), "a lone surrogate"),
        ({"a": Custom("b", {TAG: 1})}, ("a",), "need other names"),
        ({"a": Custom("b", ODD_NAMES)}, ("a",), "need other names"),
        ({"a": {range(2)}}, ("a",), "a member of a set cannot be stored as a list"),
        ({range(2): 1}, (range(2),), "a key"),
        ({(1, range(2)): 1}, ((1, range(2)),), "a key"),
    ],
    ids=shown,
)
def test_what_cannot_be_carried_is_refused_with_the_path(
    value: Any, path: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(EncodingError) as caught:
        dumps(value)
    assert caught.value.path == path
    assert words in str(caught.value)


def test_the_path_begins_where_the_value_is_to_be_stored() -> None:
    with pytest.raises(
        EncodingError, match=r"db\['x'\]\['a'\]\[0\]: a value of type Thing"
    ) as caught:
        to_wire({"a": [Thing()]}, ("x",))
    assert caught.value.path == ("x", "a", 0)
    with pytest.raises(EncodingError, match=r"db\['x'\]\[1\]: a lone surrogate"):
        dumps(["a", "\ud800"], ("x",))


def test_an_open_file_is_refused() -> None:
    with (
        open(__file__) as file,
        pytest.raises(EncodingError, match="a value of type TextIOWrapper"),
    ):
        dumps({"f": file})


def test_the_same_part_twice_is_no_cycle() -> None:
    part = [1]
    assert loads(dumps([part, part, (part, part)])) == [[1], [1], ([1], [1])]


KINDS = [list, dict, tuple, set]


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_may_be_as_deep_as_the_limit(kind: Any) -> None:
    value = nested(MAX_DEPTH, kind)
    assert loads(dumps(value)) == value
    value = nested(MAX_DEPTH - 1, kind, range(2))
    assert loads(dumps(value)) == nested(MAX_DEPTH - 1, kind, [0, 1])
    value = nested(MAX_DEPTH - 1, kind, Custom("a", {"data": 1}))
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("kind", KINDS)
def test_a_deeper_value_is_refused_and_the_limit_named(kind: Any) -> None:
    for value in (
        nested(MAX_DEPTH + 1, kind),
        nested(MAX_DEPTH, kind, {}),
        nested(MAX_DEPTH, kind, range(2)),
        nested(MAX_DEPTH, kind, Custom("a", {})),
        nested(100_000, kind),
    ):
        with pytest.raises(EncodingError, match="nested deeper than 100 levels"):
            dumps(value)


@given(value=VALUES, levels=st.integers(MAX_DEPTH - 6, MAX_DEPTH))
def test_what_can_be_sent_can_be_read(value: Any, levels: int) -> None:
    try:
        data = dumps(nested(levels, core=value))
    except EncodingError:
        return
    assert same(loads(data), nested(levels, core=value))


@pytest.mark.parametrize(("levels", "deep"), [(100, False), (101, True), (500, True)])
def test_the_depth_of_plain_values_is_told(levels: int, deep: bool) -> None:
    for kind in (list, dict):
        assert too_deep(nested(levels, kind), 100) is deep
        assert is_plain(nested(levels, kind)) is not deep


@given(
    pool=st.lists(VALUES, min_size=1, max_size=4),
    keys=st.lists(KEYS | st.text(max_size=2), unique=True, max_size=3),
    depth_left=st.integers(0, 6),
)
def test_many_values_are_plain_when_each_of_them_is(pool: Any, keys: Any, depth_left: int) -> None:
    turns = [pool[turn:] + pool[:turn] for turn in range(len(pool))] * MANY
    records = [dict(zip(keys, turn, strict=False)) for turn in turns]
    for many in (pool * MANY, records, pool + records):
        assert is_plain(many, depth_left) is all(is_plain([each], depth_left) for each in many)


@pytest.mark.parametrize(
    "record",
    [
        {"id": math.nan, "name": "one"},
        {"id": -(10**4200), "name": "one"},
        {"id": 1, "name": ("one",)},
        {"id": 1, "name": [{2: "one"}]},
        {"id": 1, "name": Text("one")},
        {Text("id"): 1, "name": "one"},
        {"id": 1, 2: "one"},
        {"id": 1, TAG: "one"},
        {"id": 1, "name": "one", "of": b"more"},
        {"of": b"more"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("first", [{}, {"id": 1}, {"id": 1, "name": "one", "more": 1}], ids=len)
def test_one_of_many_records_that_is_not_plain_is_noticed(first: Any, record: Any) -> None:
    records = [first] + [{"id": number, "name": str(number)} for number in range(1000)]
    assert is_plain(records)
    records[500] = record
    assert not is_plain(records)
    assert same(loads(dumps([record] * 100)), loads(dumps([record])) * 100)


def test_many_records_that_hold_themselves_are_refused_at_once() -> None:
    record: dict[str, Any] = {}
    record.update(one=record, other=record)
    with pytest.raises(EncodingError, match="holds itself"):
        dumps([record] * 1000)


def depth(value: Any) -> int:
    children = value.values() if type(value) is dict else value if type(value) is list else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


@given(value=PLAIN, depth_left=st.integers(0, 6))
def test_a_plain_value_is_too_deep_by_its_deepest_part(value: Any, depth_left: int) -> None:
    for each in (value, json.loads(json.dumps(value))):
        assert too_deep(each, depth_left) is (depth(value) > depth_left)


# --- slices ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [slice(1, 2), slice(None, -3, 2), slice(None)], ids=repr)
def test_a_slice_travels_as_an_argument(value: slice) -> None:
    wire, tagged = argument_to_wire(value)
    assert tagged
    assert argument_from_wire(json.loads(json.dumps(wire))) == value


def test_a_slice_takes_integers_of_a_reasonable_size() -> None:
    for value in (slice("a", None), slice(1.0), slice(True), slice(10**5000)):
        with pytest.raises(EncodingError, match="a slice takes integers"):
            argument_to_wire(value)
    with pytest.raises(EncodingError, match="a slice takes integers"):
        argument_from_wire({TAG: "slice", "start": "a"})


def test_what_is_no_slice_travels_as_an_argument_like_any_value() -> None:
    wire, tagged = argument_to_wire((1, 2))
    assert tagged
    assert argument_from_wire(wire) == (1, 2)


# --- File ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "filename"),
    [
        (File("/srv/in/report.pdf"), "report.pdf"),
        (File("/srv/in/report.pdf", "other.pdf"), "other.pdf"),
        (File("/srv/in/", None), "in"),
        (File("C:\\in\\report.pdf"), "report.pdf"),
        (File(filename="../../etc/passwd", content=b""), "passwd"),
    ],
)
def test_a_file_has_the_last_part_of_its_path_as_its_name(file: File, filename: str) -> None:
    assert file.filename == filename


def test_a_file_needs_a_place_or_content_with_a_name() -> None:
    refused: list[dict[str, Any]] = [{}, {"filename": "a"}, {"location": "/a", "content": b""}]
    for arguments in refused:
        with pytest.raises(TypeError, match="either a location or its content"):
            File(**arguments)
    with pytest.raises(TypeError, match="needs a filename"):
        File(content=b"")


def test_files_are_compared_by_what_they_are() -> None:
    assert File("/a") == File("/a")
    assert hash(File("/a")) == hash(File("/a"))
    assert File("/a") != File("/a", "b")
    assert File("/a") != "/a"
    assert pickle.loads(pickle.dumps(File("/a", "b"))) == File("/a", "b")


def test_a_file_is_shown_without_its_content() -> None:
    assert repr(File("/a/b")) == "File('/a/b', filename='b')"
    assert repr(File(filename="b", content=b"abc")) == "File(filename='b', content=<3 bytes>)"


def test_files_of_version_1_are_understood() -> None:
    assert from_wire({TAG: "file", "filename": "b", "location": "/a/b"}) == File("/a/b", "b")
    assert from_wire({TAG: "file", "filename": None, "location": "/a/b"}) == File("/a/b")
    sent: dict[str, Any] = {TAG: "file", "filename": "b", "content": "t\u00e9xt"}
    assert from_wire(sent) == File(filename="b", content="t\u00e9xt".encode())
    sent = {TAG: "file", "filename": "b", "location": None, "content": ""}
    assert from_wire(sent) == File(filename="b", content=b"")


# --- what a stranger may send ----------------------------------------------------------------


@pytest.mark.parametrize("wire", BAD, ids=json.dumps)
def test_a_tag_with_wrong_fields_is_refused(wire: Any) -> None:
    for nesting in (wire, {"a": [wire]}, {TAG: "tuple", "items": [wire]}, {TAG: "x", "y": wire}):
        with pytest.raises(EncodingError):
            from_wire(copy.deepcopy(nesting))


@given(wire=WIRES)
def test_any_json_is_a_value_or_an_encoding_error(wire: Any) -> None:
    try:
        value = from_wire(wire)
    except EncodingError:
        return
    assert same(loads(dumps(value)), value)


@given(data=st.binary())
def test_any_bytes_are_a_value_or_an_encoding_error(data: bytes) -> None:
    try:
        loads(data)
    except EncodingError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b"1e400",
        b"NaN",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"_customtype":"x","a":' * 900 + b"1" + b"}" * 900,
        b'{"_customtype":"tuple","items":[' * 900 + b"1" + b"]}" * 900,
        b"[" * 101 + b"]" * 101,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_value_is_an_encoding_error(data: bytes) -> None:
    with pytest.raises(EncodingError):
        loads(data)


def test_a_short_message_does_not_cost_much() -> None:
    # Each would take minutes or gigabytes if anything in it were worked out.
    for number in ("1e999999999", "-1e-999999999", "9" * 100_000, "1e999999999999999999"):
        wire = {TAG: "Decimal", "value": number}
        value = from_wire({TAG: "dict", "items": [[wire, 1], [{TAG: "tuple", "items": [wire]}, 2]]})
        assert value[Decimal(number)] == 1
        assert len(repr(value)) < 300_000
        assert same(loads(dumps(value)), value)
    large = from_wire({TAG: "int", "hex": "f" * 1_000_000})
    assert {large: 1}[large] == 1
    assert loads(dumps(large)) == large


def test_a_set_is_written_in_the_same_order_in_every_process() -> None:
    script = (
        "from pyzdb.values.tags import dumps; print(dumps({'a', 'b', 3, ('c', 1), None}).decode())"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(written) == 1


@pytest.mark.parametrize("content", ["text", 3, ["a"]])
def test_the_content_of_a_file_is_bytes(content: Any) -> None:
    with pytest.raises(TypeError, match="the content of a File must be bytes"):
        File(filename="a.txt", content=content)

"""Requests: what is sent arrives as it was, and nothing else gets through."""

from __future__ import annotations

import json
from traceback import format_exception
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyzdb.errors import (
    EncodingError,
    MessageError,
)
from pyzdb.protocol.commands import Command
from pyzdb.protocol.replies import encode_reply, failed
from pyzdb.protocol.requests import (
    MODES,
    Batch,
    Exec,
    Request,
    TakeLock,
    Write,
    decode_request,
    encode_request,
    version_of,
)
from pyzdb.values import File
from pyzdb.values.plain import BIG_INT, MAX_DEPTH, TAG
from tests.support.strategies import BAD, KEYS, VALUES, WIRES, nested, same

SLICES = st.builds(
    slice,
    st.none() | st.integers(),
    st.none() | st.integers(),
    st.none() | st.integers(),
)
COMMANDS = st.builds(
    Command,
    st.lists(KEYS | SLICES, max_size=3).map(tuple),
    st.none() | st.sampled_from(["get", "__setitem__", "append"]),
    st.lists(VALUES | SLICES, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["a", "b", TAG]), VALUES, max_size=2),
)


def same_command(left: Command, right: Command) -> bool:
    return same(
        (left.index, left.func, left.args, left.kwargs),
        (right.index, right.func, right.args, right.kwargs),
    )


def request(command: Command, **fields: Any) -> Write:
    return Write(command.index, command.func, command.args, command.kwargs, version=2, **fields)


def wire(**fields: Any) -> bytes:
    return json.dumps({"mode": "read", "index": [], **fields}).encode()


# --- requests there and back -----------------------------------------------------------------


@given(command=COMMANDS)
def test_a_command_arrives_as_it_was(command: Command) -> None:
    assert same_command(decode_request(encode_request(request(command))).single(), command)


@given(commands=st.lists(COMMANDS, max_size=3))
def test_a_batch_arrives_as_it_was(commands: list[Command]) -> None:
    back = decode_request(encode_request(Batch(commands=tuple(commands), version=2)))
    assert len(back.commands) == len(commands)
    assert all(map(same_command, back.commands, commands))


def test_the_fields_of_a_request_arrive() -> None:
    sent = TakeLock(lease=2.5, client="me@here:1-a", number=7, since=3, token=12, version=2)
    back = decode_request(encode_request(sent))
    assert back == sent
    assert back.tagged is False


def test_source_arrives() -> None:
    source = "print('\u00e9', \"\\ud800\")\n"
    assert decode_request(encode_request(Exec(command=source, version=2))).command == source


def test_a_plain_request_says_that_nothing_in_it_is_tagged() -> None:
    plain = request(Command(("l", 3), "append", ({"a": [1]},)))
    assert b"tagged" not in encode_request(plain)
    tagged = request(Command(("l", 3), "append", ((1,),)))
    assert json.loads(encode_request(tagged))["tagged"] is True


def test_a_request_can_be_encoded_twice() -> None:
    one = request(Command(("x",), "append", ((1, 2),)))
    assert encode_request(one) == encode_request(one)


def test_large_integers_arrive_wherever_they_stand() -> None:
    for command in (
        Command((BIG_INT,)),
        Command((10**5000, "x")),
        Command(("x",), "append", (10**5000,)),
        Command(("x",), "update", (), {"a": -(10**5000)}),
    ):
        assert same_command(decode_request(encode_request(request(command))).single(), command)


class Thing:
    pass


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (Command(("x",), "__setitem__", ("y", {"a": [Thing()]})), ("x", "y", "a", 0)),
        (Command(("x",), "append", ([Thing()],)), ("x", 0)),
        (Command(("x",), "update", (), {"a": {"b": Thing()}}), ("x", "b")),
        (Command(("x", Thing())), ("x",)),
        (Command(("x",), "__setitem__", ("y", "\ud800")), ("x", "y")),
        (Command(("x",), "__setitem__", (3, ["a", {"b": "\ud800"}])), ("x", 3, 1, "b")),
        (Command(("x",), "append", (["a", "\ud800"],)), ("x", 1)),
        (Command(("x",), "append", (("a", "\ud800"),)), ("x", 1)),
        (Command(("x", "\ud800")), ("x", "\ud800")),
        (Command(("x",), "\ud800"), ("x",)),
        (Command(("x",), "append", (nested(MAX_DEPTH + 1),)), None),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_cannot_travel_is_refused_with_its_path(command: Command, path: Any) -> None:
    for sent in (request(command), Batch(commands=(Command(("ok",)), command), version=2)):
        with pytest.raises(EncodingError) as caught:
            encode_request(sent)
        if path is not None:
            assert caught.value.path == path


def test_a_lone_surrogate_in_source_is_refused() -> None:
    with pytest.raises(EncodingError, match="a lone surrogate"):
        encode_request(Exec(command="print('\ud800')", version=2))


# --- version 1 -------------------------------------------------------------------------------


def test_a_request_without_a_version_is_one_of_version_1() -> None:
    sent = b'{"mode": "read", "index": ["l", 4], "func": null, "args": [], "kwargs": {}}'
    back = decode_request(sent)
    assert back.version == 1
    assert back.single() == Command(("l", 4))


def test_a_tag_of_version_1_is_understood_wherever_it_stands() -> None:
    file = {TAG: "file", "filename": "b", "location": "/a/b"}
    back = decode_request(wire(func="append", args=[{"f": [file]}]))
    assert back.args == ({"f": [File("/a/b", "b")]},)
    hidden = wire(args=[file]).replace(TAG.encode(), b"\\u005fcustomtype")
    assert decode_request(hidden).args == (File("/a/b", "b"),)


def test_the_other_messages_of_version_1_are_understood() -> None:
    for sent in (
        {"mode": "lock", "action": "lock"},
        {"mode": "unlock", "action": "unlock"},
        {"mode": "exec", "command": "print(1)"},
        {"mode": "readall"},
    ):
        back = decode_request(json.dumps(sent).encode())
        assert (back.mode, back.version) == (sent["mode"], 1)


# --- bad requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a JSON message"),
        (b"hello", "not a JSON message: .*hello"),
        (b"\xff\xfe", "not a JSON message"),
        (b"{", "not a JSON message"),
        (b"[" * 100_000, "at most 320 levels"),
        (b'{"a":' * 100_000, "at most 320 levels"),
        (b'{"mode":"read","index":' + b"[" * 100_000, "at most 320 levels"),
        (b'{"mode":"read","index":[],"args":[' + b"1" * 5000 + b"]}", "not a valid request"),
        (b'{"mode":"read","index":["\\ud800"]}', "not a JSON message"),
        (b'{"mode":"read","index":["\xed\xa0\x80"]}', "not a JSON message"),
        (b"3", "not a valid request: Expected `object`"),
        (b"null", "not a valid request"),
        (b"[]", "not a valid request"),
        (b"{}", "missing required field `mode`"),
        (b'{"mode":3}', r"not a valid request: Expected `str`, got `int` - at `\$.mode`"),
        (b'{"mode":"read"}', "missing required field `index`"),
        (b'{"mode":"write","index":null}', "Expected `array`, got `null`"),
        (b'{"mode":"read","index":"l"}', r"at `\$.index`"),
        (b'{"mode":"read","index":{}}', r"at `\$.index`"),
        (b'{"mode":"read","index":[],"func":3}', r"at `\$.func`"),
        (b'{"mode":"read","index":[],"args":{}}', r"at `\$.args`"),
        (b'{"mode":"read","index":[],"kwargs":[]}', r"at `\$.kwargs`"),
        (b'{"mode":"read","index":[],"number":"1"}', r"at `\$.number`"),
        (b'{"mode":"read","index":[],"version":3}', "version 3 of the messages is not known"),
        (b'{"mode":"read","index":[],"version":"2"}', r"at `\$.version`"),
        (b'{"mode":"dance"}', "unknown mode 'dance'"),
        (b'{"mode":"' + b"x" * 1000 + b'"}', "unknown mode 'x{80}'"),
        (b'{"mode":"exec"}', "missing required field `command`"),
        (b'{"mode":"exec","command":3}', r"at `\$.command`"),
        (b'{"mode":"batch","commands":[3]}', r"at `\$.commands"),
        (b'{"mode":"batch","commands":[["x"]]}', r"at `\$.commands"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_is_no_request_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(MessageError, match=words) as caught:
        decode_request(data)
    text = "".join(format_exception(caught.value))  # what old clients show
    assert "msgspec" not in text.replace(str(caught.value), "")


@pytest.mark.parametrize("tag", BAD, ids=json.dumps)
@pytest.mark.parametrize("version", [1, 2])
def test_a_bad_tag_is_a_bad_request(tag: Any, version: int) -> None:
    for fields in (
        {"index": [{TAG: "tuple", "items": [tag]}]},
        {"args": [tag] if tag[TAG] != "slice" else [[tag]]},
        {"kwargs": {"a": tag}},
        {"mode": "batch", "commands": [[["x"], "append", [[tag]], {}]]},
    ):
        with pytest.raises(MessageError):
            decode_request(wire(version=version, tagged=True, **fields))


def test_a_tagged_message_of_any_depth_is_a_bad_request() -> None:
    for opening, closing in (
        (b"[", b"]"),
        (b'{"_customtype":"tuple","items":[', b"]}"),
        (b'{"_customtype":"dict","items":[[1,', b"]]}"),
        (b'{"_customtype":"own","data":', b"}"),
    ):
        for levels in (MAX_DEPTH + 1, 300, 900, 100_000):
            value = opening * levels + b"1" + closing * levels
            with pytest.raises(MessageError):
                decode_request(b'{"mode":"read","version":2,"tagged":true,"args":[%b]}' % value)


REQUESTS = st.fixed_dictionaries(
    {"mode": st.sampled_from(sorted(MODES))},
    optional={
        "version": st.sampled_from([1, 2]),
        "index": st.lists(WIRES, max_size=3),
        "func": st.none() | st.text(max_size=4),
        "args": st.lists(WIRES, max_size=3),
        "kwargs": st.dictionaries(st.text(max_size=3), WIRES, max_size=3),
        "commands": st.lists(st.tuples(st.lists(WIRES, max_size=2)), max_size=2),
        "command": st.text(max_size=3),
        "tagged": st.booleans(),
        "token": st.none() | st.integers(),
    },
)


def is_request_or_refused(data: bytes) -> None:
    version = version_of(data)
    try:
        request = decode_request(data)
    except MessageError as error:
        # The answer to a bad request is a message in its version.
        json.loads(encode_reply(failed(error, version), version))
    else:
        assert isinstance(request, Request)


@given(data=st.binary())
@example(b"\x00")
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    is_request_or_refused(data)


@given(fields=st.dictionaries(st.sampled_from(["mode", "index", "args", "version"]), WIRES))
def test_any_json_is_a_request_or_refused(fields: Any) -> None:
    is_request_or_refused(json.dumps(fields).encode())


@given(fields=REQUESTS)
def test_any_request_with_any_values_is_read_or_refused(fields: Any) -> None:
    is_request_or_refused(json.dumps(fields).encode())


@given(fields=REQUESTS, data=st.data())
def test_a_request_that_was_damaged_on_its_way_is_read_or_refused(
    fields: Any, data: st.DataObject
) -> None:
    sent = bytearray(json.dumps(fields).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(sent) - 1))
        sent[place] = data.draw(st.integers(0, 255))
    is_request_or_refused(bytes(sent))


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b'{"version":2,"mode":3}', 2),
        (b'{"version":1}', 1),
        (b'{"version":9}', 1),
        (b'{"version":"2"}', 1),
        (b"{}", 1),
        (b"", 1),
        (b"\xff", 1),
        (b"[" * 100_000, 1),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_request_is_answered_in_its_own_version(data: bytes, version: int) -> None:
    assert version_of(data) == version

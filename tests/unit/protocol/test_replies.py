"""Replies: what is answered arrives as it was, and nothing else gets through."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.errors import (
    CorruptFile,
    EncodingError,
    LockError,
    MessageError,
    OperationError,
    PathKeyError,
    PyzdbError,
    QueryError,
)
from pyzdb.protocol.replies import Reply, WireReply, decode_reply, encode_reply, failed
from pyzdb.protocol.requests import (
    decode_request,
)
from pyzdb.values import Custom, File
from pyzdb.values.plain import MAX_DEPTH, TAG
from tests.support.strategies import VALUES, WIRES, nested, same


class Thing:
    pass


@given(value=VALUES)
def test_a_result_arrives_as_it_was(value: Any) -> None:
    assert same(decode_reply(encode_reply(Reply(value))).value, value)


def test_a_plain_result_arrives_as_it_was() -> None:
    value = {"a": [1, 2.5, None, "\u00e9"]}
    assert decode_reply(encode_reply(Reply(value, plain=True))).value == value


def test_results_of_a_batch_may_be_as_deep_as_any_value() -> None:
    for deepest in ([nested(MAX_DEPTH)], [nested(MAX_DEPTH, tuple)]):
        back = decode_reply(encode_reply(Reply(deepest)))
        assert back.error is None
        assert back.value == deepest


def test_a_reason_to_wait_arrives() -> None:
    back = decode_reply(encode_reply(Reply(wait="saving", ticket=7)))
    assert (back.wait, back.ticket, back.error) == ("saving", 7, None)


@pytest.mark.parametrize(
    "error",
    [
        PathKeyError("db['x']: 'x'", ("x",)),
        PathKeyError(
            "db[('l', 4)]: no", (("l", 4), 2.5, None, datetime(2024, 1, 1, tzinfo=UTC)), 3
        ),
        OperationError("too large", (10**30, Decimal("1.5"), File("/a"))),
        LockError("not held"),
        CorruptFile("damaged", "db.pkl", 3),
    ],
    ids=repr,
)
def test_an_error_arrives_as_it_was(error: PyzdbError) -> None:
    back = decode_reply(encode_reply(failed(error))).error
    assert type(back) is type(error)
    assert str(back) == str(error)
    if isinstance(error, QueryError):
        assert isinstance(back, QueryError)
        assert same(back.path, error.path)
        assert back.command == error.command


def test_an_error_arrives_whatever_is_in_its_path_or_message() -> None:
    for key in ("\ud800", 10**5000, Thing, nested(MAX_DEPTH, tuple), slice(1, 2), math.nan):
        error = PathKeyError("what\ud800", (key, "x"))
        back = decode_reply(encode_reply(failed(error))).error
        assert isinstance(back, PathKeyError)
        assert str(back) == "what?"
        assert len(back.path) == 2
        json.loads(encode_reply(failed(error, 1), 1))


def test_any_other_error_arrives_as_an_operation_error() -> None:
    back = decode_reply(encode_reply(failed(ZeroDivisionError("no")))).error
    assert type(back) is OperationError
    assert str(back) == "ZeroDivisionError: no"


def test_a_result_that_cannot_travel_is_an_error() -> None:
    for value in (Thing(), ["\ud800"], nested(MAX_DEPTH + 9)):
        back = decode_reply(encode_reply(Reply(value)))
        assert isinstance(back.error, EncodingError | OperationError)
        assert json.loads(encode_reply(Reply(value), 1)).startswith(("Traceback", "pyzdb."))


def test_a_value_of_an_unknown_type_goes_through_a_server_unchanged() -> None:
    sent = {TAG: "own", "data": [1, {TAG: "tuple", "items": []}]}
    asked = {"mode": "read", "index": [], "version": 2, "tagged": True, "args": [sent]}
    held = decode_request(json.dumps(asked).encode()).args[0]
    assert held == Custom("own", {"data": [1, ()]})
    assert json.loads(encode_reply(Reply(held))) == {"value": sent, "tagged": True}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"3",
        b"[]",
        b"[" * 100_000,
        b'{"error":3}',
        b'{"wait":3}',
        b'{"value":{"_customtype":"date"},"tagged":true}',
        b'{"error":{"path":[{"_customtype":"date"}]},"tagged":true}',
        b'{"value":' + b"[" * 300 + b"]" * 300 + b',"tagged":true}',
    ],
    ids=lambda data: repr(data)[:40],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match="not a reply of a pyzdb server"):
        decode_reply(data)


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "value": WIRES,
            "tagged": st.booleans(),
            "error": WIRES
            | st.fixed_dictionaries(
                {"type": WIRES, "path": WIRES, "message": WIRES, "command": WIRES}
            ),
            "wait": WIRES,
        },
    )
)
def test_any_reply_is_read_or_refused(fields: Any) -> None:
    try:
        assert isinstance(decode_reply(json.dumps(fields).encode()), WireReply)
    except MessageError:
        return


def test_a_tuple_is_an_array_for_an_old_client() -> None:
    assert encode_reply(Reply(("k", (1, 2))), 1) == (b'["k",{"_customtype":"tuple","items":[1,2]}]')
    assert decode_reply(encode_reply(Reply(("k", 1)))).value == ("k", 1)


# --- version 1 -------------------------------------------------------------------------------


def test_a_value_of_version_1_comes_back_bare() -> None:
    assert json.loads(encode_reply(Reply({"a": [1]}), 1)) == {"a": [1]}
    assert json.loads(encode_reply(Reply(None), 1)) is None
    assert json.loads(encode_reply(Reply(File("/a/b")), 1)) == {
        TAG: "file",
        "filename": "b",
        "location": "/a/b",
    }


def test_an_error_of_version_1_is_a_string_with_its_traceback() -> None:
    def fail() -> None:
        raise PathKeyError("db['x']: 'x'", ("x",))

    with pytest.raises(PathKeyError) as caught:
        fail()
    text = json.loads(encode_reply(failed(caught.value, 1), 1))
    assert text.startswith("Traceback")
    assert "in fail" in text
    assert text.endswith("PathKeyError: db['x']: 'x'\n")

"""What a server acknowledges is what every other one reads: after a kill, and beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from pyzdb.protocol.limits import MESSAGE_DEPTH
from tests.support.programs import Server, raw_socket, run, wait_until

COMMAS = 1_500_000
"""Commas of a text, each of which once counted as 50 bytes of the history."""


def with_unknown(levels: int) -> bytes:
    """A write with a field that nobody knows, so many levels deep."""
    unknown = "[" * levels + "]" * levels
    text = '{"version":2,"mode":"write","index":[],"func":"__setitem__","args":["x",1],"zz":%s}'
    return (text % unknown).encode()


def ask(server: Server, message: bytes) -> Any:
    with raw_socket(zmq.REQ, server.write_uri) as socket:
        socket.send(message)
        return json.loads(socket.recv())


def journal_of(server: Server) -> bytes:
    parts = sorted(server.folder.glob("db.pkl.journal-0*"))
    return b"".join(part.read_bytes() for part in parts)


@pytest.mark.parametrize("levels", [MESSAGE_DEPTH, 988, 9_000, 100_000])
def test_a_message_that_is_too_deep_is_refused_before_anything_is_done(
    server: Server, levels: int
) -> None:
    reply = ask(server, with_unknown(levels))
    assert reply["error"]["type"] == "MessageError"
    assert f"at most {MESSAGE_DEPTH} levels" in reply["error"]["message"]
    assert ask(server, b'{"version":2,"mode":"readall"}').get("value") == {}


def test_what_is_not_known_of_a_message_is_not_in_the_journal(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server()
    follower = start_server(writer=server)
    assert "error" not in ask(server, with_unknown(MESSAGE_DEPTH - 1))
    reader = connect(server.write_uri, server.read_uri)
    wait_until(lambda: reader._run() == {"x": 1})
    assert b'"x"' in journal_of(server)
    assert b"zz" not in journal_of(server)
    assert follower.said() == ""
    server.kill()
    # The other command that starts a server calls the parser from other frames.
    check = run([sys.executable, "-m", "pyzdb", "check", str(server.filename)])
    assert (check.returncode, check.stderr) == (0, "")
    server.start()
    assert connect(server.write_uri)["x"]._run() == 1


@pytest.mark.parametrize("source", ["db.setdefault('a', (1, 2))", "print(db['a'])"])
def test_the_steps_that_can_be_undone_are_the_same_after_a_kill(
    start_server: Callable[..., Server], connect: Callable[..., Any], source: str
) -> None:
    server = start_server("--exec")
    db = connect(server.write_uri)
    db["a"] = 1
    ask(server, json.dumps({"version": 2, "mode": "exec", "command": source}).encode())
    for number in range(6):
        db["x"] = "," * COMMAS + str(number)
    db.undo(6)
    before = db._run(), db.history()
    server.kill()
    server.start()
    assert (db._run(), db.history()) == before
    db.redo(6)
    assert db["x"]._run() == "," * COMMAS + "5"
    db.undo(7)
    assert db._run() == {}


def test_texts_full_of_commas_take_no_more_of_the_history_than_others(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    for number in range(10):
        db["small"] = number
    for number in range(3):
        db["large"] = f"{number}," * 2_700_000
    assert len(db.history()) == 13
    server.kill()
    server.start()
    db.undo(13)
    assert db._run() == {}

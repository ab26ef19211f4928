"""What is no request of a client, sent to every address of a server: it is answered or ignored,
and a good request works after it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq

from pyzdb.client import client
from tests.support.programs import LIMIT, Server, raw_socket, wait_until

SOCKETS = ("write", "read", "lock")

TREE = {"n": 1, "s": "{0.__class__}"}


def message(**fields: object) -> bytes:
    return json.dumps({"version": 2, **fields}).encode()


def call(index: object, func: object, *args: object, **more: object) -> bytes:
    return message(mode="write", index=index, func=func, args=args, **more)


BAD = {
    "empty": b"",
    "not JSON": b"hello",
    "not UTF-8": b'{"mode": "\xff"}',
    "not whole": b'{"mode": "read", "index": [',
    "a number": b"1",
    "an array": b"[]",
    "null": b"null",
    "no mode": b"{}",
    "two of them": call([], "clear") * 2,
    "unknown mode": message(mode="destroy"),
    "mode of the journal alone": message(mode="configure", args=[0]),
    "mode of a wrong type": message(mode=1),
    "unknown version": b'{"version": 3, "mode": "read", "index": []}',
    "version of a wrong type": b'{"version": "2", "mode": "read", "index": []}',
    "no index": message(mode="read"),
    "index of a wrong type": message(mode="read", index="x"),
    "arguments of a wrong type": message(mode="read", index=[], func="get", args="x"),
    "names of a wrong type": message(mode="read", index=[], func="get", kwargs=[1]),
    "missing path": call(["missing", "path"], None),
    "path through a number": call(["n", "x"], None),
    "unknown function": call([], "frobnicate"),
    "private function": call([], "__class__"),
    "attribute of Python": call([], "__reduce_ex__", 2),
    "function that is none": call([], 5),
    "formatting": call(["s"], "format", 1),
    "wrong number of arguments": call([], "get"),
    "wrong names": call([], "get", kwargs={"nonsense": 1}),
    "key that cannot be one": call([], "__setitem__", [1], 2),
    "tag without its parts": call([], "__setitem__", "x", {"_customtype": "bytes"}, tagged=True),
    "batch of a wrong type": message(mode="batch", commands=5),
    "batch with a bad command": message(mode="batch", commands=[[[], "__class__", [], {}]]),
    "undo of a wrong type": call([], "undo", "x"),
    "undo of too much": call([], "undo", 10**6),
    "negative undo": call([], "undo", -1),
    "lease of a wrong type": message(mode="lock", lease="long"),
    "lease that is none": message(mode="lock", lease=-5),
    "unlock without a lock": message(mode="unlock", token=99),
    "forged token": call([], "__setitem__", "x", 1, token=12345),
    "number without a client": call([], "__setitem__", "x", 1, number="one"),
    "exec": message(mode="exec", command="import os; os._exit(1)"),
    "exec without source": message(mode="exec"),
    "nested brackets": b"[" * 100_000 + b"]" * 100_000,
    "nested index": b'{"version":2,"mode":"read","index":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested value": b'{"version":2,"mode":"write","index":[],"func":"__setitem__","args":["x",'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"]}",
    "deep value": call([], "__setitem__", "x", json.loads("[" * 150 + "]" * 150)),
    "long text": b"x" * 1_000_000,
    "long number": b'{"version":2,"mode":"read","index":[' + b"9" * 100_000 + b"]}",
    "random bytes": os.urandom(1000),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a read-only one, that all this bad input goes to."""
    server = Server(tmp_path_factory.mktemp("bad_input"))
    with ExitStack() as stack:
        stack.enter_context(server)
        stack.enter_context(Server(server.folder, writer=server))
        db, connection = client(server.write_uri, server.read_uri)
        with connection:
            for key, value in TREE.items():
                db[key] = value
            wait_until(lambda: db._run() == TREE)
        yield server
        assert "Traceback" not in server.said()


@pytest.fixture
def uri(servers: Server, request: pytest.FixtureRequest) -> str:
    found: str = getattr(servers, f"{request.param}_uri")
    return found


@pytest.fixture(autouse=True)
def _goes_on(servers: Server) -> Iterator[None]:
    """After each test a normal query works, nothing has changed, and nobody holds the lock."""
    yield
    db, connection = client(servers.write_uri, servers.read_uri)
    with connection:
        assert db._run() == TREE
        with db.lock():
            assert db._run() == TREE


def is_error(answer: bytes) -> bool:
    """A version 2 error, or in version 1 a string."""
    value = json.loads(answer)
    return isinstance(value, str) or value.get("error") is not None


@pytest.mark.parametrize("uri", SOCKETS, indirect=True)
def test_bad_messages_get_an_error(uri: str) -> None:
    with raw_socket(zmq.REQ, uri) as socket:
        for name, sent in BAD.items():
            socket.send(sent)
            answer = socket.recv()
            assert is_error(answer), (name, answer[:200])
            assert len(answer) < 10_000, name


@pytest.mark.parametrize("uri", SOCKETS, indirect=True)
def test_a_message_of_several_parts_gets_an_error(uri: str) -> None:
    with raw_socket(zmq.REQ, uri) as socket:
        socket.send_multipart([call([], "clear"), b"", call([], "clear")])
        assert is_error(socket.recv())


@pytest.mark.parametrize("uri", SOCKETS, indirect=True)
def test_messages_without_an_envelope_are_dropped(uri: str) -> None:
    with raw_socket(zmq.DEALER, uri) as socket:
        socket.send(call([], "clear"))
        socket.send_multipart([b"", b""])
        socket.send_multipart([b"an", b"envelope", b"of", b"words"])
        socket.send_multipart([b"id", b"", b"{"])
        # Only what has an envelope is answered, and in order.
        answers = [socket.recv_multipart() for _ in range(2)]
        assert all(is_error(answer[-1]) for answer in answers)


@pytest.mark.parametrize("uri", SOCKETS, indirect=True)
@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" + b"\0" * 200, os.urandom(4096), b""],
    ids=["http", "half a greeting", "random bytes", "nothing"],
)
def test_what_is_not_even_zeromq_is_ignored(uri: str, sent: bytes) -> None:
    host, _, port = uri.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT) as connection:
        connection.sendall(sent)


@pytest.mark.parametrize("uri", SOCKETS, indirect=True)
def test_clients_that_leave_before_their_answer_harm_nobody(uri: str) -> None:
    for _ in range(20):
        with raw_socket(zmq.REQ, uri) as socket:
            socket.send(call([], "frobnicate"))

"""Clients of the old program: version 1 messages on a REQ socket, and the replies they get."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from pyzdb.client import client
from tests.support.programs import Server, raw_socket

TREE = {"x": 3, "d": {"k": "v"}, "l": [0, 1, 2]}


class OldClient:
    """A REQ socket that says and hears JSON."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def ask(self, **message: Any) -> Any:
        self.socket.send(json.dumps(message).encode())
        return json.loads(self.socket.recv())

    def call(self, mode: str, index: list[Any], func: str | None = None, *args: Any) -> Any:
        return self.ask(mode=mode, index=index, func=func, args=list(args), kwargs={})


@pytest.fixture
def old() -> Iterator[Callable[[str], OldClient]]:
    """Make old clients: `old(uri)`."""
    with ExitStack() as stack:

        def open_one(uri: str) -> OldClient:
            return OldClient(stack.enter_context(raw_socket(zmq.REQ, uri)))

        yield open_one


def test_old_messages_get_old_replies(server: Server, old: Callable[[str], OldClient]) -> None:
    one = old(server.write_uri)
    assert one.call("write", [], "__setitem__", "x", 3) is None
    assert one.call("write", [], "__setitem__", "d", {"k": "v"}) is None
    assert one.call("write", [], "__setitem__", "l", [0, 1, 2]) is None
    assert one.call("read", []) == TREE
    assert one.call("read", ["l"], "__getitem__", 1) == 1
    assert one.call("read", ["l"], "__iter__") == [0, 1, 2]
    assert one.call("read", ["l"], "__len__") == 3
    assert one.call("read", [], "__contains__", "x") is True
    assert one.call("read", [], "keys") == ["x", "d", "l"]
    assert one.call("read", ["d"], "items") == [["k", "v"]]
    assert one.call("read", ["d"], "values") == ["v"]
    assert one.call("read", ["d"], "get", "no", 5) == 5
    assert one.call("read", ["d"], "__eq__", {"k": "v"}) is True
    assert one.call("read", ["d"], "__ne__", {"k": "v"}) is False
    assert one.call("write", ["l"], "pop") == 2
    assert one.call("write", ["l"], "append", "d") is None
    assert one.ask(mode="readall") == {**TREE, "l": [0, 1, "d"]}
    assert one.call("write", [], "undo") is None
    assert one.call("write", [], "undo") is None
    assert one.call("write", [], "redo") is None
    assert one.call("write", [], "save") is None
    assert one.ask(mode="readall") == {**TREE, "l": [0, 1]}


def test_a_read_mode_does_not_let_a_write_be_less_than_one(
    server: Server, old: Callable[[str], OldClient]
) -> None:
    assert old(server.write_uri).call("read", [], "__setitem__", "x", 3) is None
    server.kill()
    server.start()
    assert old(server.write_uri).call("read", ["x"]) == 3


def test_an_error_is_a_string_that_names_it(
    server: Server, old: Callable[[str], OldClient]
) -> None:
    answer = old(server.write_uri).call("read", ["nothing"])
    assert "PathKeyError" in answer
    assert "db['nothing']" in answer


def test_the_old_lock_is_exclusive(server: Server, old: Callable[[str], OldClient]) -> None:
    holder, other = old(server.write_uri), old(server.write_uri)
    assert holder.ask(mode="lock", action="lock") == {"locked": True, "uri": server.lock_uri}
    inside = old(server.lock_uri)
    inside.call("write", [], "__setitem__", "x", 1)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.call, "read", ["x"])
        assert inside.call("read", ["x"]) == 1
        inside.call("write", [], "__setitem__", "x", 2)
        assert not waiting.done()
        assert inside.ask(mode="unlock", action="unlock") == {"locked": False}
        # It was held back until the lock was free, and sees all that was done under it.
        assert waiting.result() == 2
    assert holder.call("read", ["x"]) == 2


def test_more_old_clients_wait_for_a_lock_and_get_it_in_turn(
    server: Server, old: Callable[[str], OldClient]
) -> None:
    def increment(one: OldClient, inside: OldClient) -> None:
        assert one.ask(mode="lock", action="lock")["locked"] is True
        number = inside.call("read", ["n"])
        inside.call("write", [], "__setitem__", "n", number + 1)
        assert inside.ask(mode="unlock", action="unlock") == {"locked": False}

    old(server.write_uri).call("write", [], "__setitem__", "n", 0)
    pairs = [(old(server.write_uri), old(server.lock_uri)) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        for done in [pool.submit(increment, *pair) for pair in pairs]:
            done.result()
    assert old(server.write_uri).call("read", ["n"]) == 20


def test_old_and_new_clients_keep_each_other_out(
    server: Server, old: Callable[[str], OldClient]
) -> None:
    db, connection = client(server.write_uri)
    with connection, ThreadPoolExecutor() as pool:
        with db.lock():
            db["x"] = 1
            waiting = pool.submit(old(server.write_uri).ask, mode="lock", action="lock")
            assert db["x"]._run() == 1
            assert not waiting.done()
            db["x"] = 2
        assert waiting.result()["locked"] is True
        asked = pool.submit(db["x"]._run)
        inside = old(server.lock_uri)
        assert inside.call("read", ["x"]) == 2
        inside.call("write", [], "__setitem__", "x", 3)
        assert not asked.done()
        inside.ask(mode="unlock", action="unlock")
        assert asked.result() == 3


def test_a_file_travels_with_its_content(server: Server, old: Callable[[str], OldClient]) -> None:
    file = {"_customtype": "file", "filename": "report.pdf", "content": "text of it"}
    one = old(server.write_uri)
    assert one.call("write", [], "__setitem__", "report", file) is None
    answer = one.call("read", ["report"])
    assert answer["_customtype"] == "file"
    assert answer["filename"] == "report.pdf"
    assert Path(answer["location"]).read_bytes() == b"text of it"
    assert Path(answer["location"]).parent == server.folder / "bigfiles"


def test_exec_is_off(server: Server, old: Callable[[str], OldClient]) -> None:
    assert "ExecRefused" in old(server.write_uri).ask(mode="exec", command="print(1)")


def test_exec_gives_what_was_printed(
    start_server: Callable[..., Server], old: Callable[[str], OldClient]
) -> None:
    server = start_server("--exec")
    one = old(server.write_uri)
    assert one.ask(mode="exec", command="db['x'] = 1\nprint(db['x']._run() + 1)") == "2\n"
    assert one.call("read", ["x"]) == 1


def test_the_read_queue_speaks_it_too(
    server: Server, start_server: Callable[..., Server], old: Callable[[str], OldClient]
) -> None:
    old(server.write_uri).call("write", [], "__setitem__", "x", 3)
    start_server(writer=server)
    one = old(server.read_uri)
    assert one.call("read", ["x"]) == 3
    assert "ReadOnlyError" in one.call("read", [], "__setitem__", "x", 4)
    assert "ReadOnlyError" in one.ask(mode="lock", action="lock")

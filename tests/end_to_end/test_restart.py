"""Ends of a server: signals, crashes in mid-request, lost answers, and the start after them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from pyzdb.client import client
from tests.support.programs import LIMIT, Server, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_with_0(
    server: Server, connect: Callable[..., Any], number: int
) -> None:
    db = connect(server.write_uri)
    db["x"] = [1, 2]
    assert not server.filename.exists()
    assert server.stop(number) == 0
    assert server.filename.stat().st_size > 0
    assert server.said() == ""
    server.start()
    assert db["x"]._run() == [1, 2]


def test_a_signal_lets_the_request_in_hand_finish(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = 0
    with ThreadPoolExecutor() as pool:
        done = pool.submit(db.__setitem__, "large", list(range(500_000)))
        wait_until(lambda: done.done() or "large" in db)
        assert server.stop() == 0
        server.start()
        done.result()
    assert db["large"][-1]._run() == 499_999


def test_history_and_everything_else_are_there_after_a_kill(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = {"b": 1, "a": (1, 2)}
    del db["x"]["b"]
    db["y"] = 2
    db.undo()
    before = db._run(), [step["where"] for step in db.history()]
    server.kill()
    server.start()
    assert (db._run(), [step["where"] for step in db.history()]) == before
    db.redo()
    assert db["y"]._run() == 2
    db.undo(2)
    assert list(db["x"]) == ["b", "a"]


def test_a_request_that_a_killed_server_had_in_hand_is_done_once(server: Server) -> None:
    db, connection = client(server.write_uri)
    with connection, ThreadPoolExecutor() as pool:
        db["l"] = []
        for number in range(3):
            unanswered = threading.Event()
            connection.on_wait = lambda reason, seconds, event=unanswered: event.set()
            os.kill(server.pid, signal.SIGSTOP)
            done = pool.submit(db["l"].append, number)
            assert unanswered.wait(LIMIT)
            server.kill()
            server.start()
            done.result()
        assert db["l"]._run() == [0, 1, 2]


class Relay:
    """Passes messages on, and loses the first answer to each request."""

    def __init__(self, back: str) -> None:
        self.lost = 0
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        port = self._front.bind_to_random_port("tcp://127.0.0.1", 10_000, 32_000)
        self.uri = f"tcp://127.0.0.1:{port}"
        self._back.connect(back)
        self._thread = threading.Thread(target=self._pass_on)
        self._thread.start()

    def _pass_on(self) -> None:
        seen: set[bytes] = set()
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        poller.register(self._back, zmq.POLLIN)
        try:
            while True:
                for socket, _ in poller.poll():
                    parts = socket.recv_multipart()
                    if socket is self._front:
                        self._back.send_multipart(parts)
                    elif parts[-1] in seen:
                        self._front.send_multipart(parts)
                    else:
                        seen.add(parts[-1])
                        self.lost += 1
        except zmq.ContextTerminated:
            self._front.close(linger=0)
            self._back.close(linger=0)

    def close(self) -> None:
        self._context.term()
        self._thread.join()


@contextmanager
def relay_to(uri: str) -> Iterator[Relay]:
    relay = Relay(uri)
    try:
        yield relay
    finally:
        relay.close()


def test_a_write_whose_answer_was_lost_is_done_once(server: Server) -> None:
    with relay_to(server.write_uri) as relay:
        db, connection = client(relay.uri)
        with connection:
            db["l"] = []
            assert db["l"].append(1) is None
            assert db["l"].pop() == 1
            assert db["l"]._run() == []
        assert relay.lost >= 4


@pytest.mark.parametrize("policy", ["always", "everysec", "never"])
def test_each_choice_of_fsync_serves_and_keeps_what_it_saved(
    start_server: Callable[..., Server], connect: Callable[..., Any], policy: str
) -> None:
    server = start_server("--fsync", policy)
    db = connect(server.write_uri)
    for number in range(20):
        db[f"k{number}"] = number
    # The process dies, the machine does not: nothing is lost by any of them.
    server.kill()
    server.start()
    assert db._run() == {f"k{number}": number for number in range(20)}
    assert server.stop() == 0


def test_saves_while_clients_write_lose_nothing(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    for name in "abc":
        db[name] = []

    def write(name: str) -> None:
        for number in range(100):
            db[name].append(number)

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(write, name) for name in "abc"]
        saves = 0
        while not all(each.done() for each in writing):
            db.save()
            saves += 1
        for each in writing:
            each.result()
    assert saves
    server.kill()
    server.start()
    assert db._run() == {name: list(range(100)) for name in "abc"}


def test_the_server_saves_by_itself_when_the_journal_has_grown(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server("--snapshot-bytes", "20000")
    db = connect(server.write_uri)
    db["l"] = []

    def grow() -> bool:
        db["l"].append("x" * 1000)
        return server.filename.exists()

    wait_until(grow)
    stored = db["l"]._run()
    server.kill()
    server.start()
    assert db["l"]._run() == stored


def test_a_smaller_history_limit_forgets_the_oldest_steps(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server("--history-limit", "2")
    db = connect(server.write_uri)
    for number in range(4):
        db["x"] = number
    assert len(db.history()) == 2
    db.undo(2)
    assert db["x"]._run() == 1


def test_any_transport_of_zeromq_works(tmp_path: Path, connect: Callable[..., Any]) -> None:
    server = Server(tmp_path)
    server.uris = [
        f"ipc://{tmp_path}/{name}" for name in ("write", "back", "read", "rback", "lock")
    ]
    with server, Server(tmp_path, writer=server):
        db = connect(server.write_uri, server.read_uri)
        with db.lock():
            db["x"] = 1
        assert wait_until(lambda: db._run()) == {"x": 1}

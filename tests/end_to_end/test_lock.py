"""The lock of the whole tree between real clients: exclusive, with a lease and a token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from pyzdb.client import client
from pyzdb.errors import ConnectionClosed, LockError, LockTimeout, ServerTimeout
from pyzdb.protocol.replies import decode_reply
from pyzdb.protocol.requests import Write, decode_request, encode_request
from tests.support.programs import LIMIT, Server, environment, raw_socket, wait_until
from tests.torture.middle import Middle, Sender

HOLDER = """
import sys
from pyzdb.client import client
db, connection = client(sys.argv[1])
db.lock(lease=float(sys.argv[2]))
db['held'] = True
print('locked', flush=True)
sys.stdin.read()
"""


@contextmanager
def holder_process(server: Server, lease: float) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock, and does nothing with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.write_uri, str(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()
            process.wait()


def test_the_lock_of_a_killed_client_is_free_when_its_lease_ends(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    with holder_process(server, lease=3.0) as holder:
        with pytest.raises(LockTimeout):
            db.lock(timeout=0.01)
        holder.kill()
        with db.lock():
            assert db["held"]._run() is True


def test_the_lock_of_a_client_that_is_asleep_ends_too(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    with holder_process(server, lease=2.0):
        assert db["held"]._run() is True


def test_reads_and_writes_of_others_wait(server: Server, connect: Callable[..., Any]) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    with ThreadPoolExecutor() as pool:
        with db.lock():
            db["l"] = []
            waiting = [pool.submit(other._run), pool.submit(other["l"].append, 2)]
            db["l"].append(1)
            assert not any(each.done() for each in waiting)
        assert waiting[0].result()["l"][0] == 1
        waiting[1].result()
    assert db["l"]._run() == [1, 2]


def test_increments_under_the_lock_are_all_counted(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["n"] = 0

    def increment(_: int) -> None:
        for _ in range(3):
            with db.lock():
                db["n"] = db["n"]._run() + 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(4)))
    assert db["n"]._run() == 12


def test_a_client_waits_no_longer_than_it_says(server: Server, connect: Callable[..., Any]) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    impatient = connect(server.write_uri, timeout=0.1)
    with db.lock():
        with pytest.raises(LockTimeout, match="another client has held the lock"):
            other.lock(timeout=0.05)
        # An operation that is not the lock itself waits for the timeout of its connection.
        with pytest.raises(TimeoutError):
            impatient["x"] = 1
        with pytest.raises(TimeoutError):
            impatient["x"]._run()
    other["x"] = 2
    assert db["x"]._run() == 2


def test_unlocking_without_the_lock_is_an_error(
    server: Server, connect: Callable[..., Any]
) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    with pytest.raises(LockError, match="does not hold the lock"):
        db.unlock()
    with db.lock():
        with pytest.raises(LockError):
            other.unlock()
        with pytest.raises(LockError, match="holds the lock already"):
            db.lock()
    with pytest.raises(LockError):
        db.unlock()


def test_a_failing_block_gives_the_lock_back(server: Server, connect: Callable[..., Any]) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    with pytest.raises(KeyError), db.lock():
        db["nothing"]._run()
    with other.lock(timeout=0.01):
        pass


def test_closing_a_connection_gives_the_lock_back(
    server: Server, connect: Callable[..., Any]
) -> None:
    db, connection = client(server.write_uri)
    with connection:
        db.lock(lease=1000)
    connect(server.write_uri)["x"] = 1


def test_a_late_message_of_an_old_holder_is_refused(
    server: Server, connect: Callable[..., Any]
) -> None:
    late, other = connect(server.write_uri), connect(server.write_uri)
    late.lock(lease=0.1)
    other["x"] = 2  # waits for the end of the lease
    with pytest.raises(LockError, match="the lock is lost"):
        late["x"] = 3
    with pytest.raises(LockError, match="the lock is lost"):
        late["x"]._run()
    with pytest.raises(LockError):
        late.unlock()
    assert other["x"]._run() == 2
    # After that it is a client like any other.
    late["x"] = 4
    assert other["x"]._run() == 4


def test_use_renews_the_lease(server: Server, connect: Callable[..., Any]) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    db.lock(lease=2.0)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.lock, timeout=3.0)
        # As long as the other one is waiting, the lock is used: it outlasts its lease.
        while not waiting.done():
            db["x"] = 1
        with pytest.raises(LockTimeout):
            waiting.result()
    db.unlock()


BAD: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"lease": 0}, ValueError),
    ({"lease": -1.0}, ValueError),
    ({"lease": float("inf")}, ValueError),
    ({"lease": 1e9}, ValueError),
    ({"lease": "x"}, TypeError),
    ({"timeout": "x"}, TypeError),
    ({"timeout": -1}, ValueError),
    ({"timeout": float("nan")}, ValueError),
]


@pytest.mark.parametrize(("options", "kind"), BAD)
def test_seconds_that_a_lock_cannot_have_are_refused_at_once(
    server: Server, connect: Callable[..., Any], options: dict[str, Any], kind: type[Exception]
) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    with pytest.raises(kind) as caught:
        db.lock(**options)
    assert isinstance(caught.value, LockError)
    db["x"] = 1
    with other.lock(), pytest.raises(kind):
        db.lock(**options)


def test_a_lock_survives_a_restart_of_the_server(
    server: Server, connect: Callable[..., Any]
) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    for end in (server.kill, server.stop):
        with db.lock():
            end()
            server.start()
            with pytest.raises(LockTimeout):
                other.lock(timeout=0.05)
            db["x"] = end.__name__
        assert other["x"]._run() == end.__name__


def test_the_lock_address_alone_opens_nothing(server: Server, connect: Callable[..., Any]) -> None:
    db = connect(server.write_uri)
    write = encode_request(Write((), "__setitem__", ("x", 1), version=2))
    with db.lock(), raw_socket(zmq.REQ, server.lock_uri) as intruder:
        intruder.send(write)
        assert isinstance(decode_reply(intruder.recv()).error, LockError)
        assert "x" not in db


def test_a_client_is_sent_to_the_host_that_it_has_reached(server: Server) -> None:
    # The server says localhost or any interface; a client elsewhere must not go to itself.
    server.stop()
    port = server.lock_uri.rpartition(":")[2]
    server.uris[4] = f"tcp://*:{port}"
    server.start()
    db, connection = client(server.write_uri)
    with connection, db.lock():
        db["x"] = 1
        assert db["x"]._run() == 1


def test_read_only_servers_go_on_under_a_lock(
    server: Server, start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    start_server(writer=server)
    db, reader = connect(server.write_uri), connect(server.write_uri, server.read_uri)
    with db.lock():
        db["x"] = 1
        wait_until(lambda: reader._run() == {"x": 1})


# --- through one port, and over restarts ---------------------------------------------------------

UNREACHABLE = "inproc://lock"
"""A lock address that no other process reaches, as through a tunnel of the write port alone."""


def use(db: Any) -> None:
    """Do all that can be done under a lock."""
    db["x"] = 1
    assert db["x"]._run() == 1
    with db.batch() as batch:
        batch["y"] = 2
        fetched = batch["x"]._run()
    assert fetched.value == 1
    db.undo()
    db.redo()
    db.save()
    assert db._run() == {"x": 1, "y": 2}


def test_the_lock_works_through_the_write_address_alone(
    server: Server, connect: Callable[..., Any]
) -> None:
    server.stop()
    server.uris[4] = UNREACHABLE
    server.start()
    db, other = connect(server.write_uri), connect(server.write_uri)
    for _ in range(2):
        with db.lock(lease=1000):
            use(db)
            with pytest.raises(LockTimeout):
                other.lock(timeout=0.01)
        with other.lock():
            other.clear()


def test_a_lock_is_used_where_its_own_server_is(
    start_server: Callable[..., Server],
    connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # As through a tunnel to a machine whose lock address is, here, that of another server.
    servers = []
    for name in ("far", "here"):
        folder = tmp_path / name
        folder.mkdir()
        servers.append(Server(folder))
        servers[-1].uris[4] = "ipc://lock"
    with servers[0] as far, servers[1] as here:
        monkeypatch.chdir(here.folder)
        db, other = connect(far.write_uri), connect(far.write_uri)
        with db.lock(lease=1000):
            use(db)
        with other.lock():
            other["z"] = 3
        assert connect(here.write_uri)._run() == {}


def test_restarts_do_not_lengthen_the_lease_of_a_dead_holder(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    with holder_process(server, lease=3.0) as holder:
        holder.kill()

    def is_free_after_a_restart() -> bool:
        server.kill()
        server.start()
        try:
            db.lock(timeout=0.01)
        except LockTimeout:
            return False
        return True

    wait_until(is_free_after_a_restart)
    assert db["held"]._run() is True
    db.unlock()


def test_restarts_do_not_take_the_lock_from_who_reads(
    server: Server, connect: Callable[..., Any]
) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    with ThreadPoolExecutor() as pool:
        with db.lock(lease=8.0):
            waiting = pool.submit(other.__setitem__, "x", 2)
            for _ in range(2):
                end = time.monotonic() + 5.0  # more than half a lease
                while time.monotonic() < end:
                    assert db._run() == {}
                server.kill()
                server.start()
            assert db._run() == {}
        waiting.result()


# --- what was granted, and nobody knows ----------------------------------------------------------


class Deaf(Middle):
    """Passes on what clients ask for, and keeps the answers to those who ask for the lock."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.granted = 0
        self._asked: set[Sender] = set()

    def request(self, sender: Sender, message: bytes) -> None:
        if decode_request(message).mode == "lock":
            self._asked.add(sender)
        self.to_server(sender, message)

    def answer(self, sender: Sender, message: bytes) -> None:
        if sender in self._asked:
            self._asked.remove(sender)
            self.granted += 1
        else:
            self.to_client(sender, message)


def end_by_time(db: Any, connection: Any, deaf: Deaf) -> None:
    with pytest.raises(ServerTimeout):
        db.lock(lease=1000)


def end_by_interrupt(db: Any, connection: Any, deaf: Deaf) -> None:
    def interrupt(reason: str, seconds: float) -> None:
        raise KeyboardInterrupt

    connection.on_wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        db.lock(lease=1000)


def end_by_close(db: Any, connection: Any, deaf: Deaf) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(db.lock, lease=1000)
        wait_until(lambda: deaf.granted)
        connection.close()
        with pytest.raises(ConnectionClosed):
            waiting.result()


@pytest.mark.parametrize("end", [end_by_time, end_by_interrupt, end_by_close])
def test_a_lock_that_was_granted_to_who_did_not_hear_of_it_is_given_back(
    server: Server, connect: Callable[..., Any], end: Callable[..., None]
) -> None:
    other = connect(server.write_uri)
    with Deaf(server.write_uri) as deaf:
        timeout = 0.5 if end is end_by_time else LIMIT
        db, connection = client(deaf.uri, timeout=timeout)
        with connection:
            end(db, connection, deaf)
            assert deaf.granted
            with other.lock():
                other["x"] = 1


def test_the_lock_of_a_thread_whose_connection_another_one_closed_is_given_back(
    server: Server, connect: Callable[..., Any]
) -> None:
    db, connection = client(server.write_uri)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(db.lock, lease=1000).result()
        connection.close()
        with connect(server.write_uri).lock():
            pass


def test_a_server_that_was_asleep_does_not_keep_a_lock_that_nobody_holds(
    server: Server, connect: Callable[..., Any]
) -> None:
    db, other = connect(server.write_uri, timeout=0.5), connect(server.write_uri)
    db["x"] = 1
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(ServerTimeout):
        db.lock(lease=1000)
    os.kill(server.pid, signal.SIGCONT)
    with other.lock():
        other["x"] = 2


def test_the_error_says_whose_lock_it_is(server: Server, connect: Callable[..., Any]) -> None:
    db, other = connect(server.write_uri), connect(server.write_uri)
    with db.lock(), pytest.raises(LockTimeout, match=rf":{os.getpid()}-\w+ since 2\d\d\d-.* UTC"):
        other.lock(timeout=0.01)

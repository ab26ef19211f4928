"""The lock of the whole tree between real clients: exclusive, with a lease and a token."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import zmq
from programs import Server, environment, raw_socket, wait_until

from pyzdb.client import client
from pyzdb.errors import LockError, LockTimeout
from pyzdb.messages import Request, decode_reply, encode_request

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


@pytest.mark.parametrize("lease", [0, -1.0, float("inf"), 1e9])
def test_a_lease_that_is_none_is_refused(
    server: Server, connect: Callable[..., Any], lease: float
) -> None:
    db = connect(server.write_uri)
    with pytest.raises(LockError):
        db.lock(lease=lease)
    db["x"] = 1


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
    write = encode_request(Request("write", 2, (), "__setitem__", ("x", 1)))
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

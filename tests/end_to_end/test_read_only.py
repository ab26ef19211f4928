"""Read-only servers: they follow the file of the writer, and refuse to write."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zmq

from pyzdb.client import client
from pyzdb.errors import ReadOnlyError
from pyzdb.protocol.replies import decode_reply
from pyzdb.protocol.requests import (
    Batch,
    Exec,
    GiveLockBack,
    Read,
    TakeLock,
    Write,
    encode_request,
)
from tests.support.programs import Server, raw_socket, run, script, wait_until


class Servers:
    """A read-write server, read-only servers of its file, a client that writes, one that reads."""

    def __init__(self, writer: Server, readers: list[Server], db: Any, reader: Any) -> None:
        self.writer = writer
        self.readers = readers
        self.db = db
        self.reader = reader

    def wait_for_all(self, expected: Any) -> None:
        """Wait until each read-only server, which are asked in turn, serves a version."""
        asked = range(2 * len(self.readers))
        wait_until(lambda: all(self.reader._run() == expected for _ in asked))


@pytest.fixture
def servers(start_server: Callable[..., Server], connect: Callable[..., Any]) -> Servers:
    writer = start_server()
    readers = [start_server(writer=writer) for _ in range(2)]
    reader = connect(writer.write_uri, writer.read_uri)
    return Servers(writer, readers, connect(writer.write_uri), reader)


def test_read_only_servers_see_saved_and_unsaved_versions(servers: Servers) -> None:
    servers.db["x"] = 1
    servers.wait_for_all({"x": 1})
    servers.db.save()
    servers.db["x"] = 2
    servers.wait_for_all({"x": 2})
    servers.db.undo()
    servers.wait_for_all({"x": 1})


def test_a_read_only_server_that_starts_later_serves_what_is_saved(
    server: Server, start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = 1
    db.save()
    server.stop()
    server.start()
    reader = start_server(writer=server)
    assert reader.line.endswith(f" reads {server.filename} for {server.uris[3]} (Ctrl-C ends it)\n")
    assert connect(server.write_uri, server.read_uri)._run() == {"x": 1}


def test_a_read_only_server_may_be_there_before_the_writer(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    writer = Server(tmp_path)
    reading = Server(tmp_path, writer=writer)
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as stack:
        started = pool.submit(stack.enter_context, reading)
        wait_until(lambda: "waiting for the server that writes" in reading.said())
        stack.enter_context(writer)
        started.result()
        db, reader = connect(writer.write_uri), connect(writer.write_uri, writer.read_uri)
        assert reader._run() == {}
        db["x"] = 1
        wait_until(lambda: reader._run() == {"x": 1})


@pytest.fixture
def load(servers: Servers) -> Iterator[None]:
    """Clients that read all the time."""
    stop = threading.Event()

    def ask() -> None:
        db, connection = client(servers.writer.write_uri, servers.writer.read_uri)
        with connection:
            while not stop.is_set():
                db._run()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("load")
def test_new_versions_are_noticed_under_constant_load(servers: Servers) -> None:
    for number in range(3):
        servers.db["x"] = number
        servers.wait_for_all({"x": number})
        servers.db.save()


@pytest.mark.usefixtures("load")
def test_what_is_read_never_goes_back(servers: Servers) -> None:
    """Each client asks the servers in turn, so one server is left."""
    servers.readers[1].stop()
    servers.db["n"] = 0
    servers.wait_for_all({"n": 0})
    seen = [0]
    for number in range(1, 60):
        servers.db["n"] = number
        if number % 20 == 0:
            servers.db.save()
        seen.append(servers.reader["n"]._run())
    wait_until(lambda: servers.reader["n"] == 59)
    assert seen == sorted(seen)


@pytest.mark.parametrize("kind", [Read, Write])
def test_a_write_is_refused_whatever_its_mode_claims(servers: Servers, kind: Any) -> None:
    servers.db["x"] = 1
    servers.wait_for_all({"x": 1})
    messages = [
        kind((), "__setitem__", ("x", 2), version=2),
        kind((), "clear", version=2),
        kind((), "undo", version=2),
        kind((), "save", version=2),
        Batch(commands=(), version=2),
        TakeLock(version=2),
        GiveLockBack(version=2),
        Exec(command="db['x'] = 2", version=2),
    ]
    with raw_socket(zmq.REQ, servers.writer.read_uri) as socket:
        for message in messages:
            socket.send(encode_request(message))
            reply = decode_reply(socket.recv())
            assert reply.value is None or message.mode == "batch", message
            assert reply.error is not None or message.mode == "batch", message
    assert servers.reader._run() == servers.db._run() == {"x": 1}


def test_a_client_that_takes_a_read_only_server_for_a_writer_is_told(servers: Servers) -> None:
    db, connection = client(servers.writer.read_uri)
    with connection:
        with pytest.raises(ReadOnlyError):
            db["x"] = 1
        with pytest.raises(ReadOnlyError):
            db.save()
        with pytest.raises(ReadOnlyError):
            db.lock()


def test_the_version_before_is_served_while_the_file_is_missing(servers: Servers) -> None:
    servers.db["x"] = 1
    servers.db.save()
    servers.wait_for_all({"x": 1})
    os.unlink(servers.writer.filename)
    servers.db["y"] = 2
    servers.wait_for_all({"x": 1, "y": 2})
    wait_until(servers.writer.filename.exists)  # the writer saves anew
    servers.db["z"] = 3
    servers.wait_for_all({"x": 1, "y": 2, "z": 3})
    assert all(reader.process.poll() is None for reader in servers.readers if reader.process)


def test_they_go_on_through_saves_and_restarts_of_the_writer(servers: Servers) -> None:
    expected: dict[str, int] = {}
    ends: list[Callable[[], object]] = [servers.writer.stop, servers.writer.kill]
    for number, end in enumerate(ends):
        servers.db[f"k{number}"] = number
        servers.db.save()
        servers.db[f"l{number}"] = number
        expected |= {f"k{number}": number, f"l{number}": number}
        servers.wait_for_all(expected)
        end()
        # The queue that leads to them was in the server that ended.
        servers.writer.start()
        servers.wait_for_all(expected)


def test_read_only_servers_leave_the_files_alone_and_end_with_0(servers: Servers) -> None:
    servers.db["x"] = 1
    before = sorted(path.name for path in servers.writer.folder.iterdir())
    assert [reader.stop() for reader in servers.readers] == [0, 0]
    assert sorted(path.name for path in servers.writer.folder.iterdir()) == before


def test_a_client_reads_what_it_has_written_and_never_goes_back(servers: Servers) -> None:
    db, connection = client(servers.writer.write_uri, servers.writer.read_uri)
    with connection:
        for number in range(200):
            db["n"] = number
            assert db["n"]._run() == number
            assert db.get("n") == number


class OfFile(Server):
    """A read-only server that is given nothing but the file."""

    @property
    def arguments(self) -> list[str]:
        return ["-ro", str(self.filename)]


def test_a_read_only_server_finds_the_address_of_its_own_database_by_the_file(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            writer = stack.enter_context(Server(tmp_path / name))
            connect(writer.write_uri)["name"] = name
            reading = stack.enter_context(OfFile(tmp_path / name, writer=writer))
            assert f" reads {writer.filename} for {writer.uris[3]} " in reading.line
            assert connect(writer.write_uri, writer.read_uri)._run() == {"name": name}


def test_a_read_only_server_of_no_database_does_not_start(tmp_path: Path) -> None:
    done = run([*script("server.py"), "-ro", str(tmp_path / "mistyped.pkl")])
    assert done.returncode == 1
    assert done.stderr.endswith(f"pyzdb: there is no database {tmp_path / 'mistyped.pkl'}\n")


def test_a_read_only_server_of_a_damaged_database_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "db.pkl"
    path.write_bytes(b"pyzdb snapshot 1\n" + bytes(100))
    done = run([*script("server.py"), "-ro", str(path)])
    assert done.returncode == 1
    assert f"pyzdb: {path} is damaged at offset" in done.stderr

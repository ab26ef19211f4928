"""What lies between clients and servers: silent connections, and addresses of each kind."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyzdb.client import client
from pyzdb.errors import AddressError, ServerTimeout
from pyzdb.transport.addresses import split
from tests.support.programs import (
    LIMIT,
    Server,
    environment,
    processor_ticks,
    run,
    script,
    wait_until,
)
from tests.torture.wire import Wire

TIMEOUT = 10.0
"""Seconds for a query of a test in which a socket has to be replaced."""


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with Wire(server.write_uri) as between:
        yield between


def test_a_query_is_served_though_its_connection_has_fallen_silent(
    wire: Wire, connect: Callable[..., Any]
) -> None:
    db = connect(wire.uri, timeout=TIMEOUT)
    db["x"] = 1
    for number in range(2):
        wire.fall_silent()
        assert db["x"]._run() == number + 1
        db["x"] += 1
    assert db["x"]._run() == 3


def test_a_write_on_a_connection_that_falls_silent_is_done_once(
    wire: Wire, connect: Callable[..., Any]
) -> None:
    db = connect(wire.uri, timeout=TIMEOUT)
    db["l"] = []
    for number in range(2):
        wire.fall_silent()
        db["l"].append(number)
        db["l"].append(number)
    assert db["l"]._run() == [0, 0, 1, 1]


def test_the_lock_is_given_back_over_a_new_connection(
    wire: Wire, server: Server, connect: Callable[..., Any]
) -> None:
    db, other = connect(wire.uri, timeout=TIMEOUT), connect(server.write_uri)
    with db.lock():
        db["x"] = 1
        wire.fall_silent()
    assert other["x"]._run() == 1


def test_reads_go_to_the_writing_server_while_no_other_answers(
    server: Server,
    start_server: Callable[..., Server],
    connect: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    db = connect(server.write_uri, server.read_uri)
    db["x"] = 1
    with caplog.at_level(logging.INFO, "pyzdb.client"):
        assert [db["x"]._run(), len(db)] == [1, 1]
        (said,) = caplog.messages
        assert server.read_uri in said
        assert server.write_uri in said
        assert "`python server.py -ro` starts one" in said
        start_server(writer=server)
        wait_until(lambda: (db["x"]._run(), len(caplog.messages)) == (1, 2))
    assert caplog.messages[1] == f"reads go to {server.read_uri} again"
    assert db["x"]._run() == 1


def test_a_client_is_refused_an_address_that_is_wrong_at_once() -> None:
    number: Any = 5559
    for uris in [(number,), ("nonsense",), ("http://127.0.0.1:80",), ("tcp://a:1", "tcp://a")]:
        with pytest.raises(AddressError, match=str(uris[-1])):
            client(*uris)


def has_ipv6() -> bool:
    """Whether this machine can listen on ::1; where it cannot, IPv4 stands in for it here, and
    test_addresses.py shows how the addresses are written."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def on(host: str, server: Server) -> Server:
    """A server with addresses of a host of IPv6, on ports that are free there."""
    family, here = (socket.AF_INET6, "::1") if has_ipv6() else (socket.AF_INET, "127.0.0.1")
    with contextlib.ExitStack() as held:
        free = [
            held.enter_context(socket.create_server((here, 0), family=family)) for _ in range(4)
        ]
        ports = [each.getsockname()[1] for each in free]
    host = host if has_ipv6() else {"[::1]": "127.0.0.1", "[::]": "0.0.0.0"}[host]
    write, read, back, lock = (f"tcp://{host}:{port}" for port in ports)
    server.uris = [write, "", read, back, lock]
    return server


def test_a_server_of_ipv6_serves_reads_writes_and_the_lock(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with on("[::1]", Server(tmp_path)) as writer, Server(tmp_path, writer=writer):
        db, reader = connect(writer.write_uri), connect(writer.write_uri, writer.read_uri)
        with db.lock():
            db["x"] = 1
        wait_until(lambda: reader._run() == {"x": 1})


def test_a_server_on_every_interface_of_ipv6_is_reached_both_ways(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with on("[::]", Server(tmp_path)) as server:
        port = server.write_uri.rpartition(":")[2]
        hosts = ["127.0.0.1", "localhost", "localhost.", *(["[::1]"] if has_ipv6() else [])]
        for number, host in enumerate(hosts):
            db = connect(f"TCP://{host}:{port}")
            with db.lock():
                db["x"] = number
            assert db["x"]._run() == number
        assert f"every machine that reaches {server.write_uri} can read" in server.said()


def test_a_name_of_both_kinds_leads_to_a_server_of_either(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with on("[::1]", Server(tmp_path)) as server:
        port = server.write_uri.rpartition(":")[2]
        db = connect(f"tcp://localhost:{port}", timeout=TIMEOUT)
        db["x"] = 1
        assert db["x"]._run() == 1


def test_a_server_that_runs_code_takes_loopback_of_ipv6_and_no_more(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with on("[::1]", Server(tmp_path, "--exec")) as server:
        _, connection = client(server.write_uri)
        with connection:
            assert connection.exec("print(1)") == "1\n"
    done = run([*script("server.py"), "--exec", *on("[::]", Server(tmp_path)).arguments])
    assert done.returncode == 1
    assert "--exec" in done.stderr


def test_a_second_server_does_not_take_an_address_of_ipc(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    first, second = (Server(tmp_path / name) for name in ("first", "second"))
    for each in (first, second):
        each.folder.mkdir()
        each.uris[0] = f"ipc://{tmp_path}/address"
    with first:
        db = connect(first.write_uri)
        db["x"] = 1
        done = run([*script("server.py"), *second.arguments])
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on {first.write_uri}: another server listens there" in done.stderr
        assert connect(first.write_uri)._run() == {"x": 1}
        first.kill()
        first.start()  # what a server that was killed left there is in nobody's way
        assert db["x"]._run() == 1


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_lies_at_an_address_of_ipc_and_is_not_a_socket_stays(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "precious"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        path.write_text("text")
    server = Server(tmp_path)
    server.uris[0] = f"ipc://{path}"
    done = run([*script("server.py"), *server.arguments])
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is a file that is not a socket" in done.stderr
    assert os.path.lexists(path)
    assert kind != "file" or path.read_text() == "text"


MANY_THREADS = """
import resource, sys, threading
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), hard))
threading.stack_size(1 << 17)
from pyzdb.client import client
from pyzdb.errors import PyzdbError
db, connection = client(sys.argv[1], timeout=50)
db["x"] = 1
errors, done, go_on = [], [], threading.Event()
def read():
    try:
        done.append(db["x"]._run())
    except PyzdbError as error:
        errors.append(type(error).__name__ + ": " + str(error))
    go_on.wait()
threads = [threading.Thread(target=read) for _ in range(int(sys.argv[3]))]
for number, thread in enumerate(threads):
    thread.start()
    while len(done) + len(errors) < number - 20:
        threading.Event().wait(0.001)
go_on.set()
for thread in threads:
    thread.join()
del thread
threading.Thread(target=read).start()
while len(done) + len(errors) < len(threads) + 1:
    threading.Event().wait(0.001)
print(len(done), done[-1:], set(errors))
connection.close()
"""


def read_in_threads(server: Server, descriptors: int, threads: int) -> str:
    """What threads that each have a session, and one after them, say of their reads."""
    done = subprocess.run(
        [sys.executable, "-c", MANY_THREADS, server.write_uri, str(descriptors), str(threads)],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_client_has_more_threads_than_zeromq_counts_on(server: Server) -> None:
    assert read_in_threads(server, descriptors=8192, threads=1100) == "1101 [1] set()\n"


def test_a_client_without_descriptors_says_so_and_works_again_when_threads_have_ended(
    server: Server,
) -> None:
    said = read_in_threads(server, descriptors=80, threads=100)
    assert " [1] {'NoSocket: no socket can be opened for " in said
    assert "too many are open in this process" in said


def limited(server: Server, kind: str, descriptors: int) -> Server:
    """A server that is started with a limit of descriptors: "S" a soft one, "H" both."""
    flag = "-Sn" if kind == "S" else "-n"
    server.before = ["sh", "-c", f'ulimit {flag} {descriptors}; exec "$@"', "sh"]
    return server


_READY = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4) + b"DEALER"
HELLO = b"\xff" + bytes(8) + b"\x7f\x03\0" + b"NULL".ljust(52, b"\0") + b"\x04\x1c" + _READY
"""What a ZeroMQ socket says first: one that is silent is sent away after 30 seconds."""


@contextlib.contextmanager
def connections(server: Server, number: int) -> Iterator[list[socket.socket]]:
    """Connections to a server that nothing is asked on."""
    _, host, port = split(server.write_uri)
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(number):
            each = stack.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex((host, int(port)))  # the system goes on with it
            with contextlib.suppress(OSError):  # of one that is left outside
                each.send(HELLO)
            made.append(each)
        yield made


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def test_a_server_raises_its_soft_limit_of_descriptors(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with limited(Server(tmp_path), "S", 100) as server, connections(server, 200):
        wait_until(lambda: descriptors(server) > 200)
        assert connect(server.write_uri)._run() == {}
        assert "no room" not in server.said()


@pytest.mark.needs("linux")
def test_a_server_without_room_says_so_rests_and_serves_who_is_in(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with limited(Server(tmp_path, "-v"), "H", 200) as server:
        db = connect(server.write_uri)
        db["x"] = 1
        with connections(server, 400):
            wait_until(lambda: "no room for more clients at" in server.said())
            # Let in are at most seven eighths; the others wait outside, and cost nothing.
            wait_until(lambda: descriptors(server) <= 175)
            before = processor_ticks(server.pid)
            time.sleep(1)
            assert processor_ticks(server.pid) - before < os.sysconf("SC_CLK_TCK") / 4
            db["x"] += 1
            db.save()
            with pytest.raises(ServerTimeout):
                connect(server.write_uri, timeout=0.5)._run()
        assert connect(server.write_uri)["x"]._run() == 2
        assert server.said().count("no room") == 1


def test_v_tells_of_a_connection_that_speaks_something_else(tmp_path: Path) -> None:
    with Server(tmp_path, "-v") as server:
        _, host, port = split(server.write_uri)
        with socket.create_connection((host, int(port))) as other:
            other.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03" + b"\0" + b"WRONG".ljust(52, b"\0"))
            wait_until(lambda: "refused a connection to" in server.said())


@pytest.mark.parametrize("output", ["full", "broken"])
def test_a_server_serves_though_its_standard_output_fails(
    tmp_path: Path, output: str, connect: Callable[..., Any]
) -> None:
    server = Server(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    if output == "full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [*script("server.py"), *server.arguments],
            stdout=writing,
            stderr=log,
            env=environment(),
        )
    os.close(writing)
    try:
        db = connect(server.write_uri)
        db["x"] = 1
        assert db._run() == {"x": 1}
    finally:
        process.terminate()
        assert process.wait(LIMIT) == 0
    assert "though the standard output fails" in server.said()


FEW_DESCRIPTORS = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from pyzdb.client import client
from pyzdb.errors import NoSocket, ServerTimeout
for left in range(12):
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for each in held[:left]:
        os.close(each)
    db, connection = client("tcp://127.0.0.1:1", timeout=0.1)
    try:
        db._run()
    except (NoSocket, ServerTimeout) as error:
        print(left, type(error).__name__)
    for each in held[left:]:
        os.close(each)
    try:
        db._run()
    except ServerTimeout:
        print("tried again")
    connection.close()
"""


def test_the_first_query_without_descriptors_is_an_error_and_not_the_end() -> None:
    done = run([sys.executable, "-c", FEW_DESCRIPTORS])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0 NoSocket\ntried again\n1 NoSocket\n")
    assert done.stdout.count("tried again") == 12
    assert done.stdout.endswith("11 ServerTimeout\ntried again\n")

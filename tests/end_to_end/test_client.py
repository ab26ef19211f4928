"""The client against a real server: threads, forks, ends, timeouts, and what is never sent."""

from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyzdb.client import Connection, client
from pyzdb.client.driver import Driver
from pyzdb.errors import (
    AddressError,
    ConnectionClosed,
    EncodingError,
    HistoryError,
    LockError,
    LockTimeout,
    OperationNotAllowed,
    ServerTimeout,
)
from tests.support.programs import LIMIT, Server, environment, wait_until
from tests.torture.processes import free_uris


@pytest.fixture
def db(server: Server, connect: Callable[..., Any]) -> Any:
    return connect(server.write_uri)


def test_errors_are_those_of_python_with_the_path(db: Any) -> None:
    db["d"] = {"l": [1]}
    with pytest.raises(KeyError, match=r"db\['no'\]"):
        db["no"]._run()
    with pytest.raises(IndexError, match=r"db\['d'\]\['l'\]\[5\]"):
        db["d"]["l"][5]._run()
    with pytest.raises(TypeError):
        _ = db["d"]["l"] + 1
    with pytest.raises(ValueError, match="not in list"):
        db["d"]["l"].remove(7)
    with pytest.raises(HistoryError):
        db.undo(10)
    assert db._run() == {"d": {"l": [1]}}


def test_what_cannot_be_carried_is_refused_before_it_is_sent(db: Any) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (sys.stdout, "\ud800", cycle, [[object()]]):
        with pytest.raises(EncodingError):
            db["x"] = value
    assert db.history() == []


def test_the_names_of_user_and_machine_need_not_be_utf_8(
    server: Server, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"J\xfcrg"))
    machine = os.uname_result(("Linux", os.fsdecode(b"b\xfcro"), "", "", ""))
    monkeypatch.setattr(os, "uname", lambda: machine)
    db = connect(server.write_uri)
    db["x"] = 1
    assert db.history()[0]["who"].startswith("J\ufffdrg@b\ufffdro:")


def test_the_repr_of_a_path_sends_nothing(connect: Callable[..., Any]) -> None:
    nobody = connect(free_uris(1)[0])
    assert repr(nobody["l"][4]["k"]) == "db['l'][4]['k']"
    assert repr(nobody["l"].append) == "db['l'].append"
    assert repr(nobody[1:2, ("a", None)]) == "db[(slice(1, 2, None), ('a', None))]"


def test_no_dunder_name_and_no_unknown_name_is_ever_sent(connect: Callable[..., Any]) -> None:
    nobody = connect(free_uris(1)[0])
    for name in ("__class_getitem__", "__array__", "_private", "__deepcopy__", "nonsense"):
        with pytest.raises(AttributeError):
            getattr(nobody["x"], name)
    with pytest.raises(TypeError):
        pickle.dumps(nobody["x"])
    with pytest.raises(TypeError):
        copy.copy(nobody["x"])
    with pytest.raises(TypeError):
        hash(nobody["x"])


def test_a_function_that_its_type_does_not_have_is_an_error(db: Any) -> None:
    db["n"] = 1
    with pytest.raises(OperationNotAllowed):
        db["n"].append(1)
    with pytest.raises(AttributeError):
        db["n"].append(1)


def test_several_threads_share_a_connection(db: Any) -> None:
    db["l"] = []
    db["n"] = 0

    def work(number: int) -> list[Any]:
        seen = []
        for step in range(20):
            db["l"].append((number, step))
            seen.append(db["l"].count((number, step)))
        return seen

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [[1] * 20] * 6
    stored = db["l"]._run()
    assert sorted(stored) == [(number, step) for number in range(6) for step in range(20)]


def test_a_lock_belongs_to_the_thread_that_took_it(server: Server) -> None:
    db, connection = client(server.write_uri)
    with connection, ThreadPoolExecutor() as pool, db.lock():
        db["x"] = 1
        with pytest.raises(LockTimeout):
            pool.submit(db.lock, timeout=0.05).result()


def append_in_child(db: Any, value: Any) -> None:
    db["l"].append(value)


# ZeroMQ's own threads are no danger to a child that makes sockets of its own.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_goes_on_with_the_same_client(db: Any) -> None:
    db["l"] = ["parent"]
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=append_in_child, args=(db, number)) for number in range(3)]
    for child in children:
        child.start()
    db["l"].append("parent again")
    for child in children:
        child.join(LIMIT)
        assert child.exitcode == 0
        child.close()
    assert sorted(map(str, db["l"])) == ["0", "1", "2", "parent", "parent again"]


def test_a_closed_connection_says_so(server: Server) -> None:
    db, connection = client(server.write_uri)
    db["x"] = 1
    connection.close()
    connection.close()
    with pytest.raises(ConnectionClosed, match=r"make another one with client\(\)"):
        db["x"]._run()
    assert repr(connection) == f"<closed connection to {server.write_uri}>"


def test_a_close_ends_what_another_thread_waits_for() -> None:
    db, connection = client(free_uris(1)[0])
    waiting = threading.Event()
    connection.on_wait = lambda reason, seconds: waiting.set()
    with ThreadPoolExecutor() as pool:
        query = pool.submit(db._run)
        assert waiting.wait(LIMIT)
        connection.close()
        with pytest.raises(ConnectionClosed, match="closed meanwhile"):
            query.result()


def test_a_query_that_waits_may_itself_close_the_connection() -> None:
    db, connection = client(free_uris(1)[0])
    connection.on_wait = lambda reason, seconds: connection.close()
    with pytest.raises(ConnectionClosed, match="closed meanwhile"):
        db._run()


def test_threads_at_work_all_hear_of_a_close(server: Server) -> None:
    def work(db: Any, begun: threading.Barrier) -> int:
        db["x"] = done = 1
        begun.wait(LIMIT)
        while True:
            try:
                db["x"] = done
            except ConnectionClosed:
                return done
            done += 1

    def close(connection: Connection, begun: threading.Barrier) -> None:
        begun.wait(LIMIT)
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            db, connection = client(server.write_uri)
            begun = threading.Barrier(8)
            counts = [pool.submit(work, db, begun) for _ in range(6)]
            closes = [pool.submit(close, connection, begun) for _ in range(2)]
            assert [each.result(LIMIT) for each in closes] == [None, None]
            assert all(each.result(LIMIT) > 0 for each in counts)


def test_a_connection_that_is_dropped_unclosed_warns(server: Server) -> None:
    db, connection = client(server.write_uri)
    db["x"] = 1
    del db
    held = [connection]
    del connection
    with pytest.warns(ResourceWarning, match="was not closed"):
        held.clear()


def test_a_connection_that_was_never_used_holds_nothing_to_close() -> None:
    held = [client(free_uris(1)[0])]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        held.clear()
    assert told == []


def test_silence_is_an_error_that_names_the_address_and_what_to_start() -> None:
    write_uri, read_uri = free_uris(2)
    db, connection = client(write_uri, read_uri, timeout=0.1)
    with connection:
        with pytest.raises(ServerTimeout) as of_a_write:
            db["x"] = 1
        with pytest.raises(TimeoutError) as of_a_read:
            db["x"]._run()
    assert f"{write_uri} did not answer for " in str(of_a_write.value)
    assert "`python server.py` starts one" in str(of_a_write.value)
    assert f"{read_uri} did not answer for " in str(of_a_read.value)
    assert "`python server.py -ro` starts one" in str(of_a_read.value)


def test_silence_of_a_name_that_cannot_be_resolved_says_so() -> None:
    db, connection = client("tcp://no-such-host.invalid:5559", timeout=0.1)
    with connection, pytest.raises(ServerTimeout, match=r"'no-such-host\.invalid'") as caught:
        db._run()
    assert "cannot be resolved" in str(caught.value)
    assert "starts one" not in str(caught.value)
    assert caught.value.uri == "tcp://no-such-host.invalid:5559"


def test_a_name_that_can_be_resolved_is_not_to_blame() -> None:
    uri = free_uris(1)[0].rpartition(":")[2]
    db, connection = client(f"tcp://localhost:{uri}", timeout=0.1)
    with connection, pytest.raises(ServerTimeout, match="starts one"):
        db._run()


def test_signals_do_not_prolong_the_wait_for_a_silent_server() -> None:
    ticks = 0

    def tick(*_: object) -> None:
        nonlocal ticks
        ticks += 1
        if ticks > 1000:  # 20 s
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, tick)
    db, connection = client(free_uris(1)[0], timeout=0.5)
    with connection:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            with pytest.raises(ServerTimeout):
                db["x"] = 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert ticks <= 1000


@pytest.mark.parametrize("kind", [Driver, Connection])
def test_a_client_that_was_not_made_is_dropped_without_a_word(kind: type[object]) -> None:
    kind.__new__(kind)  # as when there is no room on the stack for its making


def test_a_client_may_be_there_before_its_server(server: Server) -> None:
    server.stop()
    db, connection = client(server.write_uri)
    waiting = threading.Event()
    connection.on_wait = lambda reason, seconds: waiting.set()
    with connection, ThreadPoolExecutor() as pool:
        query = pool.submit(db._run)
        assert waiting.wait(LIMIT)
        server.start()
        assert query.result() == {}


@pytest.mark.parametrize("uri", ["nonsense", "tcp://", "tcp://host", "tcp://host:port", ""])
def test_what_is_not_an_address_is_refused(uri: str) -> None:
    with pytest.raises(AddressError):
        client(uri)
    with pytest.raises(AddressError):
        client("tcp://127.0.0.1:5559", uri)


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [(0, ValueError), (-1.0, ValueError), (float("nan"), ValueError), ("x", TypeError)],
)
def test_a_timeout_that_cannot_be_is_refused(timeout: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="seconds"):
        Connection("tcp://127.0.0.1:5559", None, timeout)
    connection = Connection("tcp://127.0.0.1:5559", None, 5)
    with pytest.raises(kind, match="seconds"):
        connection.timeout = timeout
    assert connection.timeout == 5


def test_ctrl_c_stops_a_query_and_leaves_the_client_usable(server: Server) -> None:
    db, connection = client(server.write_uri)
    with connection:
        db["x"] = 1
        os.kill(server.pid, signal.SIGSTOP)
        connection.on_wait = lambda reason, seconds: signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            db["x"]._run()
        with pytest.raises(KeyboardInterrupt):
            db["x"] = 2
        connection.on_wait = None
        os.kill(server.pid, signal.SIGCONT)
        assert db["x"]._run() in (1, 2)
        db["x"] = 3
        assert db["x"]._run() == 3


def test_a_waiting_program_ends_on_ctrl_c() -> None:
    source = f"""
from pyzdb.client import client
db, connection = client({free_uris(1)[0]!r})
connection.on_wait = lambda reason, seconds: print(reason, flush=True)
with connection:
    db._run()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "silent\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=LIMIT)
    assert said.rstrip().endswith("KeyboardInterrupt")


def test_a_batch_is_one_step_and_its_results_come_after_it(db: Any) -> None:
    db["l"] = [1]
    with db.batch() as batch:
        batch["x"] = 3
        batch["l"].append(4)
        x, size = batch["x"]._run(), batch["l"].__len__()
        with pytest.raises(RuntimeError, match="not known before the block has ended"):
            _ = x.value
    assert (x.value, size) == (3, size)
    db.undo()
    assert db._run() == {"l": [1]}


def test_a_batch_that_fails_does_nothing_and_names_its_command(db: Any) -> None:
    def fail() -> None:
        with db.batch() as batch:
            batch["x"] = 3
            batch["l"].append(4)

    with pytest.raises(KeyError, match=r"command 1: .*db\['l'\]"):
        fail()
    assert db._run() == {}
    assert db.history() == []


def test_a_block_that_raises_sends_nothing(db: Any) -> None:
    def fail() -> None:
        with db.batch() as batch:
            batch["x"] = 1
            batch["y"] = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert db._run() == {}


def test_history_says_what_where_when_and_who(db: Any) -> None:
    before = time.time()
    db["d"] = {}
    db["d"]["k"] = 1
    newest, oldest = db.history()
    assert (newest["what"], newest["where"]) == ("__setitem__", "db['d']['k']")
    assert before <= oldest["when"].timestamp() <= newest["when"].timestamp() <= time.time()
    assert f":{os.getpid()}-" in newest["who"]
    assert db.history(1) == [newest]


def test_large_values_come_back(db: Any) -> None:
    large = [{"id": number, "text": "é" * 20} for number in range(50_000)]
    db["large"] = large
    assert db["large"]._run() == large


def test_a_thread_that_ends_leaves_no_socket_behind(db: Any) -> None:
    descriptors = "/proc/self/fd"

    def in_a_thread() -> None:
        thread = threading.Thread(target=db._run)
        thread.start()
        thread.join()

    in_a_thread()
    before = len(os.listdir(descriptors))
    for _ in range(20):
        in_a_thread()
    wait_until(lambda: len(os.listdir(descriptors)) <= before + 4)


# --- a query in the middle of another one --------------------------------------------------------


@pytest.mark.untraced
def test_a_signal_handler_may_write_at_any_moment(db: Any) -> None:
    db["plain"] = db["handled"] = handled = 0
    done = False

    def write(*_: object) -> None:
        nonlocal handled
        db["handled"] += 1
        handled += 1
        if not done:  # one at a time, however slow the machine is
            signal.setitimer(signal.ITIMER_REAL, 0.003)

    before = signal.signal(signal.SIGALRM, write)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        for _ in range(1500):
            db["plain"] += 1
        done = True
        signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        done = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled > 10
    assert db._run() == {"plain": 1500, "handled": handled}


@pytest.mark.untraced
def test_a_signal_handler_uses_the_lock_of_its_thread(db: Any) -> None:
    db["x"] = 0

    def write(*_: object) -> None:
        db["x"] += 1

    before = signal.signal(signal.SIGALRM, write)
    try:
        with db.lock():
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            for _ in range(300):
                db["y"] = 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert db["x"]._run() == 1


@pytest.mark.untraced
def test_a_finalizer_may_write(db: Any) -> None:
    class Written:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            db["finalized"] += 1

    db["plain"] = db["finalized"] = 0
    for _ in range(500):
        Written()
        db["plain"] += 1
    gc.collect()
    assert db._run() == {"plain": 500, "finalized": 500}


# --- asyncio -------------------------------------------------------------------------------------


def test_a_query_in_a_running_loop_warns_once(db: Any) -> None:
    async def work() -> None:
        with pytest.warns(RuntimeWarning, match="asyncio.to_thread"):
            db["x"] = 1
        assert db["x"]._run() == 1

    asyncio.run(work())


def test_a_query_in_a_thread_of_a_loop_does_not_warn(db: Any) -> None:
    async def work() -> None:
        await asyncio.to_thread(db["x"]._run)

    db["x"] = 1
    asyncio.run(work())


@pytest.mark.filterwarnings("ignore:a query of pyzdb waits")
def test_the_lock_of_one_task_is_not_that_of_another(db: Any) -> None:
    db["x"] = 0
    refused = []

    async def add_one() -> None:
        try:
            with db.lock():
                x = db["x"]._run()
                await asyncio.sleep(0.01)
                db["x"] = x + 1
        except LockError as error:
            refused.append(error)

    async def work() -> None:
        await asyncio.gather(*(add_one() for _ in range(4)))

    asyncio.run(work())
    assert db["x"]._run() == 4 - len(refused) >= 1


@pytest.mark.filterwarnings("ignore:a query of pyzdb waits")
def test_a_lock_is_not_used_or_given_back_by_another_task(db: Any) -> None:
    async def other() -> None:
        with pytest.raises(LockError, match="another asyncio task"):
            db["x"] = 2
        with pytest.raises(LockError, match="another asyncio task"):
            db.unlock()

    async def work() -> None:
        with db.lock():
            await asyncio.create_task(other())
            with pytest.raises(LockError, match="does not hold"):
                await asyncio.to_thread(db.unlock)
            db["x"] = 1

    asyncio.run(work())
    assert db["x"]._run() == 1

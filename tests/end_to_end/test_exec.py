"""Source that runs in the server: off by default, on loopback only, and undoable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyzdb.client import client
from pyzdb.errors import ExecFailed, ExecRefused
from tests.support.programs import Server, run, script


@pytest.fixture
def open_server(start_server: Callable[..., Server]) -> Server:
    return start_server("--exec")


def exec_client(server: Server, source: str) -> tuple[int, str, str]:
    done = run([*script("exec_client.py"), server.write_uri], source)
    return done.returncode, done.stdout, done.stderr


def test_exec_is_off_and_the_client_explains_how_it_is_turned_on(server: Server) -> None:
    status, printed, said = exec_client(server, "print(1)")
    assert (status, printed) == (1, "")
    assert said == (
        "pyzdb: this server runs no code of its clients; it must be started with --exec for that\n"
    )


def test_what_is_printed_comes_back(open_server: Server) -> None:
    assert exec_client(open_server, "print('a')\nprint('b', end='')") == (0, "a\nb\n", "")


def test_an_error_comes_back_and_nothing_of_it_is_done(
    open_server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(open_server.write_uri)
    status, printed, said = exec_client(open_server, "db['x'] = 1\nprint('so far')\n1 / 0")
    assert (status, said) == (1, "")
    assert printed.startswith("so far\nTraceback")
    assert printed.endswith("ZeroDivisionError: division by zero\n")
    assert db._run() == {}


@pytest.mark.parametrize("source", ["1 +", "raise SystemExit", "raise KeyboardInterrupt", "exit()"])
def test_no_source_ends_the_server(open_server: Server, source: str) -> None:
    status, printed, _ = exec_client(open_server, source)
    assert status == 1
    assert "Traceback" in printed or "SyntaxError" in printed
    assert "source.py" not in printed
    assert exec_client(open_server, "print('goes on')") == (0, "goes on\n", "")


def test_its_changes_are_one_step_that_can_be_undone(
    open_server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(open_server.write_uri)
    db["l"] = [3, 1, 2]
    exec_client(open_server, "for n in range(3): db['l'].append(n)\ndb['l'].sort()")
    assert db["l"]._run() == [0, 1, 1, 2, 2, 3]
    assert db.history(1)[0]["what"] == "exec"
    db.undo()
    assert db["l"]._run() == [3, 1, 2]
    db.redo()
    assert db["l"]._run() == [0, 1, 1, 2, 2, 3]


def test_its_changes_are_kept_and_its_source_is_not_run_again(
    open_server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(open_server.write_uri)
    ran = open_server.folder / "ran"
    source = f"open({str(ran)!r}, 'a').write('once ')\ndb['x'] = 1"
    exec_client(open_server, source)
    open_server.kill()
    open_server.start()
    assert db["x"]._run() == 1
    assert ran.read_text() == "once "


def test_names_stay_from_one_source_to_the_next(open_server: Server) -> None:
    exec_client(open_server, "def double(n):\n    return 2 * n")
    assert exec_client(open_server, "print(double(4))")[1] == "8\n"


def test_the_library_runs_source_too(open_server: Server, server_without: Server) -> None:
    _, connection = client(open_server.write_uri)
    with connection:
        assert connection.exec("print(len(db))") == "0\n"
    _, connection = client(server_without.write_uri)
    with connection, pytest.raises(ExecRefused, match="started with --exec"):
        connection.exec("print(1)")


def test_source_that_fails_is_an_error_with_what_it_printed(open_server: Server) -> None:
    _, connection = client(open_server.write_uri)
    with connection, pytest.raises(ExecFailed, match="so far") as failed:
        connection.exec("print('so far')\n1 / 0")
    assert str(failed.value).startswith("so far\nTraceback")
    assert str(failed.value).endswith("ZeroDivisionError: division by zero\n")


@pytest.fixture
def server_without(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Server(tmp_path_factory.mktemp("without")) as server:
        yield server

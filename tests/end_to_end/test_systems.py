"""Other systems than this one, as far as they can be had here: what they lack is taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.programs import ROOT, Server, run
from tests.support.without import lacking

STRANGER = str(ROOT / "tests" / "support" / "stranger.py")
CLIENT, SERVER = str(ROOT / "client.py"), str(ROOT / "server.py")


def without(
    names: str, *program: str, text: str = "", folder: Path | None = None
) -> tuple[int, str, str]:
    """Status, output and errors of a Python program that lacks some names."""
    done = run(lacking(names, *program), text, cwd=folder)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("names", ["epoll", "fork", "uname,getuid,pwd", "fcntl", "windows"])
def test_a_client_needs_nothing_that_only_some_systems_have(
    start_server: Callable[..., Server], names: str
) -> None:
    server = start_server()
    start_server(writer=server)
    status, output, errors = without(names, STRANGER, server.write_uri, server.read_uri)
    assert (status, errors) == (0, "")
    assert output.startswith("all is well for ")


def test_a_client_whose_system_tells_nothing_of_its_user_has_a_name_all_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    status, output, _ = without("windows", STRANGER, server.write_uri, server.write_uri)
    assert status == 0
    assert output.startswith("all is well for unknown@")


def test_the_prompt_works_on_a_system_like_windows(server: Server) -> None:
    text = "db['x'] = 3\ndb['x']\ndb.undo()\ndb\n"
    assert without("windows", CLIENT, server.write_uri, text=text) == (
        0,
        "None\n3\nNone\n{}\n",
        "",
    )


@pytest.mark.parametrize("arguments", [(), ("-ro",), ("--history-limit", "5", "other.pkl")])
def test_a_server_says_in_one_line_that_its_system_can_keep_no_database(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    status, output, errors = without("windows", SERVER, *arguments, folder=tmp_path)
    assert (status, output) == (1, "")
    assert errors.startswith("pyzdb: a database cannot be kept on this system, only clients run")
    assert "Python lacks fcntl, os.O_DIRECTORY" in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_and_check_work_on_a_system_that_can_keep_no_database(tmp_path: Path) -> None:
    status, output, errors = without("windows", SERVER, "--help")
    assert (status, errors) == (0, "")
    assert "the database file" in output
    status, output, errors = without("windows", "-m", "pyzdb", "check", str(tmp_path / "db.pkl"))
    assert (status, output) == (1, "")
    assert errors.startswith("pyzdb: a database cannot be kept on this system")

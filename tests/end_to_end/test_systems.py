"""Other systems than this one, as far as they can be had here: what they lack is taken away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.programs import ROOT, Server, run

STRANGER = str(Path("tests") / "support" / "stranger.py")


def without(names: str, program: str, *arguments: str, text: str = "") -> tuple[int, str, str]:
    """Status, output and errors of a Python program that lacks some names."""
    command = [sys.executable, "-m", "tests.support.without", names, program, *arguments]
    done = run(command, text, cwd=ROOT)
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
    assert without("windows", "client.py", server.write_uri, text=text) == (
        0,
        "None\n3\nNone\n{}\n",
        "",
    )

"""The start of a server: its defaults, and what it refuses with one line and an exit status."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyzdb.server.options import INSIDE, Options
from tests.support.programs import Server, processor_ticks, run, script


def refused(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status of a server that does not start, and what it says."""
    done = run([*script("server.py"), *arguments], cwd=folder)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_defaults_are_those_of_the_old_program_on_this_machine_only() -> None:
    assert Options().filename == "db.pkl"
    assert Options().listening == (
        "tcp://127.0.0.1:5559",
        INSIDE,
        "tcp://127.0.0.1:5561",
        "tcp://127.0.0.1:5562",
        "tcp://localhost:5558",
    )


def test_a_server_says_what_it_serves_and_where(server: Server) -> None:
    assert server.line.endswith(
        f" serves {server.filename} at {server.write_uri} (Ctrl-C ends it)\n"
    )


def test_the_files_of_a_database_are_readable_by_its_owner_only(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = 1
    db.save()
    made = [path for path in server.folder.iterdir() if path.name.startswith("db.pkl")]
    assert server.filename in made
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}


def test_a_server_sleeps_when_its_client_has_gone_quiet(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    for _ in range(100):  # for a lone client that asks on and on it stays awake a little
        assert len(db) == 0
    before = processor_ticks(server.pid)
    time.sleep(1)
    assert processor_ticks(server.pid) - before < os.sysconf("SC_CLK_TCK") / 4


def test_an_address_for_the_back_end_makes_the_queue_reachable(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    server = Server(tmp_path)
    server.uris[1] = "ipc://back"
    with server:
        assert (tmp_path / "back").exists()
        assert connect(server.write_uri)._run() == {}


def test_a_second_server_on_a_file_names_the_file_and_its_holder(server: Server) -> None:
    status, said = refused(server.folder, *Server(server.folder).arguments)
    assert status == 1
    assert f"{server.filename} is in use by pid {server.pid} on {socket.gethostname()}" in said
    assert len(said.splitlines()) == 1


def test_a_server_whose_address_is_taken_says_by_what(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    status, said = refused(other, "db.pkl", *server.uris)
    assert status == 1
    assert said == (
        f"pyzdb: cannot listen on {server.write_uri}: another server listens there; "
        "stop it, or give this one other addresses\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["db.pkl", "nonsense"], 1, "'nonsense' is not an address like tcp://"),
        (["db.pkl", "tcp://127.0.0.1:99999"], 1, "port up to 65535"),
        (["db.pkl", "tcp://127.0.0.1"], 1, "port up to 65535"),
        (["db.pkl", "http://127.0.0.1:80"], 1, "Protocol not supported"),
        (["-ro", "db.pkl", "", "", "", "nonsense"], 1, "'nonsense' is not an address"),
        (["missing/db.pkl"], 1, "there is no folder"),
        (["."], 1, "it is a folder"),
        (["--files-from", "missing"], 2, "there is no folder missing"),
        (["--history-limit", "many"], 2, "must be a whole number, 0 or more, not 'many'"),
        (["--snapshot-bytes", "-1"], 2, "must be a whole number, 0 or more, not '-1'"),
        (["--fsync", "sometimes"], 2, "invalid choice: 'sometimes'"),
        (["--exec", "db.pkl", "tcp://*:5559"], 1, "loopback addresses only, not with tcp://*:5559"),
        (["--unknown"], 2, "unrecognized arguments: --unknown"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, arguments: list[str], status: int, reason: str
) -> None:
    found, said = refused(tmp_path, *arguments)
    assert (found, reason in said) == (status, True), said
    assert "Traceback" not in said


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db.pkl").write_bytes(b"not a saved tree")
    status, said = refused(tmp_path, *Server(tmp_path).arguments)
    assert status == 1
    assert str(tmp_path / "db.pkl") in said
    assert len(said.splitlines()) == 1


def test_v_tells_what_happens_and_vv_every_detail(tmp_path: Path) -> None:
    with Server(tmp_path, "-v") as server:
        server.stop()
        assert "INFO pyzdb.server.app: SIGTERM: ending" in server.said()
        assert f"saving {server.filename}" in server.said()


def test_an_address_that_others_reach_is_warned_of(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.uris[0] = "tcp://*:" + server.write_uri.rpartition(":")[2]
    with server:
        assert f"every machine that reaches {server.write_uri} can read and write" in server.said()

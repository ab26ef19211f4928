"""A start that fails leaves every file of the database as it was."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from pyzdb.cli import FAILED
from pyzdb.storage.disk import Disk
from pyzdb.storage.parts import part_names
from tests.support.programs import LIMIT, Server, environment, script


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a database with its time of change, but the one that says who holds it."""
    paths = [path for path in folder.glob("db.pkl*") if path.suffix != ".lock"]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def fails_for_its_ports(server: Server, *options: str) -> str:
    """What a start on the files of a server says whose lock address others have taken."""
    with zmq.Context() as context, context.socket(zmq.REP) as other:
        other.bind(server.lock_uri)
        done = subprocess.run(
            [*script("server.py"), *options, *server.arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            cwd=server.folder,
            env=environment(),
        )
    assert done.returncode == FAILED
    assert done.stdout == ""
    assert "cannot listen on" in done.stderr
    return done.stderr


def test_a_start_on_taken_ports_leaves_the_history(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server()
    db = connect(server.write_uri)
    for number in range(30):
        db["x"] = number
    server.kill()
    before = content(server.folder)
    fails_for_its_ports(server, "--history-limit", "3")
    assert content(server.folder) == before
    server.start()
    assert len(db.history()) == 30


def test_a_start_on_taken_ports_cuts_no_unfinished_write(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server()
    connect(server.write_uri)["x"] = 1
    server.stop()
    [(_, journal)] = part_names(Disk(), str(server.filename))
    with open(journal, "ab") as file:
        file.write(b"\xff\xfePR\x40")
    before = content(server.folder)
    fails_for_its_ports(server)
    assert content(server.folder) == before


@pytest.mark.parametrize("tree", [{"x": [1, 2]}, [1, {"x": 2}]])
def test_a_start_on_taken_ports_leaves_a_pickle_of_another_program(
    tmp_path: Path, tree: Any, start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    original = pickle.dumps(tree)
    (tmp_path / "db.pkl").write_bytes(original)
    server = Server(tmp_path)
    fails_for_its_ports(server)
    assert content(tmp_path).keys() == {"db.pkl"}
    assert (tmp_path / "db.pkl").read_bytes() == original


def test_a_start_on_taken_ports_makes_no_new_database(tmp_path: Path) -> None:
    fails_for_its_ports(Server(tmp_path))
    assert content(tmp_path) == {}


def test_a_pickle_of_another_program_is_served_and_kept(
    tmp_path: Path, start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    original = pickle.dumps({"x": 1})
    (tmp_path / "db.pkl").write_bytes(original)
    kept = tmp_path / "db.pkl.original"
    server = start_server()
    assert f"is the pickle of another program; it is kept as {kept}" in server.said()
    db = connect(server.write_uri)
    assert db._run() == {"x": 1}
    db["x"] = 2
    assert server.stop() == 0
    assert kept.read_bytes() == original
    server.start()
    assert db._run() == {"x": 2}
    assert server.said().count("another program") == 1
    assert os.listdir(tmp_path).count("db.pkl.original-2") == 0


def test_an_original_that_was_kept_is_never_written_over(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    (tmp_path / "db.pkl.original").write_bytes(b"another one")
    original = pickle.dumps({"x": 1})
    (tmp_path / "db.pkl").write_bytes(original)
    start_server()
    assert (tmp_path / "db.pkl.original").read_bytes() == b"another one"
    assert (tmp_path / "db.pkl.original-2").read_bytes() == original


def test_a_folder_whose_name_is_not_utf_8_is_served(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr"))
    folder.mkdir()
    with Server(folder) as server:
        assert "f\\udcfcr/db.pkl" in server.line
        connect(server.write_uri)["x"] = 1
        assert server.stop() == 0

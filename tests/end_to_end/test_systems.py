"""Other systems than this one, as far as they can be had here: what they lack is taken away."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pyzdb.errors import FileRefused, LockTimeout
from pyzdb.values import File
from tests.support.programs import LIMIT, ROOT, Server, run, script, wait_until
from tests.support.without import SYNCS, VARIABLE, lacking

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


# --- servers -----------------------------------------------------------------------------------


SYSTEMS = ("epoll", "fork", "macos", "posix")
"""One word each of what changes most, and whole systems."""


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The system on which the programs of a test run."""
    monkeypatch.setenv(VARIABLE, request.param)
    return str(request.param)


def test_a_server_does_all_its_work_on_another_system(
    system: str, start_server: Callable[..., Server], connect: Callable[..., Any], tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    server = start_server("-v", "--files-from", str(incoming), "--exec")
    reader = start_server(writer=server)
    db = connect(server.write_uri, server.read_uri)
    db["l"] = range(10)
    db["l"].append(10)
    assert db["l"]._run() == [*range(11)]
    db.undo()
    assert db._run() == {"l": [*range(10)]}
    db.redo()
    db.lock()
    with pytest.raises(LockTimeout):
        connect(server.write_uri, timeout=0.3)["x"] = 1
    db.unlock()
    store_a_file(db, incoming / "film.mkv", system)
    db["big"] = "x" * (3 << 20)  # more than what room is made for by writing zeros
    db.save()
    assert ("nobody was served for" in server.said()) == (system != "epoll")
    db["after"] = 1
    assert server.stop() == 0
    server.start()
    assert len(db.history()) == 5
    db.undo()
    db.redo()
    server.kill()
    reader.kill()
    server.start()
    reader.start()
    assert (db["after"]._run(), len(db["big"]._run())) == (1, 3 << 20)
    assert server.stop() == 0
    assert not list(tmp_path.glob("*.new"))
    check = run([*script("pyzdb/__main__.py"), "check", str(server.filename)])
    assert (check.returncode, check.stderr) == (0, "")


def store_a_file(db: Any, source: Path, system: str) -> None:
    """Store a large file by its location, or by its content where it cannot be held."""
    source.write_bytes(b"content" * 100_000)
    if system == "posix":
        with pytest.raises(FileRefused, match="does not tell where an open file lies"):
            db["film"] = File(str(source))
        db["film"] = File(filename=source.name, content=source.read_bytes())
    else:
        db["film"] = File(str(source))
        assert not source.exists()
    stored = db["film"]._run()
    assert Path(stored.location).read_bytes() == b"content" * 100_000


@pytest.mark.parametrize("kills", [6])
def test_nothing_acknowledged_is_lost_by_quick_kills_on_another_system(
    system: str, kills: int, start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server("--snapshot-bytes", "2000")  # so that kills meet saves
    acknowledged = 0
    goes_on = True

    def write() -> None:
        nonlocal acknowledged
        db = connect(server.write_uri)
        while goes_on:
            db["l"].append(acknowledged)
            acknowledged += 1

    def has_gone_on(count: int) -> bool:
        return acknowledged >= count or writing.done()

    db = connect(server.write_uri)
    db["l"] = []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        for _ in range(kills):
            wait_until(partial(has_gone_on, acknowledged + 40))
            server.kill()
            server.start()
            shown = acknowledged
            assert len(db["l"]) >= shown
        goes_on = False
        writing.result(LIMIT)
    assert db["l"]._run() == [*range(acknowledged)]
    assert server.stop() == 0
    server.start()
    assert db["l"]._run() == [*range(acknowledged)]


def test_macos_is_asked_for_a_full_sync_before_every_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
    start_server: Callable[..., Server],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    syncs = tmp_path / "syncs"
    monkeypatch.setenv(VARIABLE, "macos")
    monkeypatch.setenv(SYNCS, str(syncs))
    db = connect(start_server().write_uri)
    for number in range(20):
        before = syncs.stat().st_size
        db["x"] = number
        assert syncs.stat().st_size > before
    before = syncs.stat().st_size
    db.save()
    assert syncs.stat().st_size >= before + 2  # the saved file, and the folder with its name

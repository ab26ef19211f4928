"""Files beside the database, from clients: named by location, or sent along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyzdb.cli import check
from pyzdb.errors import FileRefused
from pyzdb.values import File
from tests.support.programs import Server


@pytest.fixture
def db(start_server: Callable[..., Server], connect: Callable[..., Any], source: Path) -> Any:
    """A client of a server that takes files from a folder."""
    return connect(start_server("--files-from", str(source.parent)).write_uri)


def test_a_file_is_moved_beside_the_database_and_keeps_its_name(
    db: Any, tmp_path: Path, source: Path
) -> None:
    db["report"] = File(str(source))
    stored = db["report"]._run()
    assert isinstance(stored, File)
    assert stored.filename == "report.pdf"
    assert stored.location is not None
    assert Path(stored.location).parent == tmp_path / "bigfiles"
    assert Path(stored.location).read_bytes() == b"the report"
    assert not source.exists()


def test_without_a_folder_the_error_says_how_files_are_taken(
    server: Server, connect: Callable[..., Any], source: Path
) -> None:
    db = connect(server.write_uri)
    with pytest.raises(FileRefused, match="--files-from"):
        db["report"] = File(str(source))
    assert db._run() == {}
    assert source.exists()


def test_a_file_outside_the_folder_is_refused(db: Any, tmp_path: Path, source: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    link = source.parent / "link"
    link.symlink_to(outside)
    for location in (outside, link, source.parent / ".." / "secret", source.parent, Path("in")):
        with pytest.raises(FileRefused):
            db["report"] = File(str(location))
    assert db._run() == {}
    assert outside.read_bytes() == b"secret"


def test_content_is_sent_along_without_any_folder(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["report"] = File(content=b"\0\xff", filename="report.pdf")
    stored = db["report"]._run()
    assert stored.filename == "report.pdf"
    assert Path(stored.location).read_bytes() == b"\0\xff"


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "..", ".", "a/b", "x" * 1000])
def test_no_name_leads_outside(server: Server, connect: Callable[..., Any], name: str) -> None:
    db = connect(server.write_uri)
    db["file"] = File(content=b"content", filename=name)
    location = Path(db["file"]._run().location)
    assert location.resolve().parent == (server.folder / "bigfiles").resolve()
    assert location.read_bytes() == b"content"


def test_undo_and_redo_keep_the_file(db: Any, source: Path) -> None:
    db["report"] = File(str(source))
    stored = db["report"]._run()
    db.undo()
    assert "report" not in db
    db.redo()
    assert db["report"]._run() == stored
    del db["report"]
    db.undo()
    assert Path(db["report"]._run().location).read_bytes() == b"the report"


def test_files_are_there_after_a_kill_and_after_a_save(
    start_server: Callable[..., Server], connect: Callable[..., Any], source: Path
) -> None:
    server = start_server("--files-from", str(source.parent))
    db = connect(server.write_uri)
    db["report"] = File(str(source))
    for end in (server.kill, server.stop):
        end()
        server.start()
        assert Path(db["report"]._run().location).read_bytes() == b"the report"


def test_a_batch_that_fails_leaves_the_file_where_it_was(db: Any, source: Path) -> None:
    def fail() -> None:
        with db.batch() as batch:
            batch["report"] = File(str(source))
            batch["nothing"]["x"] = 1

    with pytest.raises(KeyError):
        fail()
    assert db._run() == {}
    assert source.read_bytes() == b"the report"


def test_a_database_is_moved_with_its_files(
    start_server: Callable[..., Server], connect: Callable[..., Any], tmp_path: Path
) -> None:
    old = tmp_path / "old"
    (old / "in").mkdir(parents=True)
    (old / "in" / "report.pdf").write_bytes(b"the report")
    with Server(old, "--files-from", str(old / "in")) as server:
        db = connect(server.write_uri)
        db["saved"] = File(filename="a.txt", content=b"one")
        db.save()
        db["report"] = File(str(old / "in" / "report.pdf"))
        server.stop()
        server.start()
        db.undo()
        db.redo()
        server.kill()
    new = tmp_path / "new"
    old.rename(new)
    with Server(new) as moved, Server(new, writer=moved) as reading:
        db = connect(moved.write_uri)
        for name, content in (("saved", b"one"), ("report", b"the report")):
            location = Path(db[name]._run().location)
            assert location.parent == new / "bigfiles"
            assert location.read_bytes() == content
            assert db[name] == File(str(location), File(str(location)).filename.partition("-")[2])
        reader = connect(moved.write_uri, moved.read_uri)
        assert reader["report"]._run() == db["report"]._run()
        assert reading.folder == new
    assert check.main([str(new / "db.pkl")]) == 0


def test_a_check_tells_of_large_files_that_are_missing(
    server: Server, connect: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    db = connect(server.write_uri)
    db["l"] = [File(filename="a.txt", content=b"one")]
    location = Path(db["l"][0]._run().location)
    server.stop()
    location.unlink()
    assert check.main([str(server.filename)]) == 1
    said = capsys.readouterr()
    assert f"db['l'][0]: {location} is missing" in said.out
    assert said.err.endswith("is whole, but 1 of its large files are missing\n")

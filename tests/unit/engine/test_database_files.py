"""Large files by way of the engine: moved in, kept by undo and redo, and finished after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyzdb.errors import (
    ExecFailed,
    FileRefused,
    PathKeyError,
)
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import Write, encode_request
from pyzdb.storage.disk import Disk
from pyzdb.storage.files import Files
from pyzdb.values import File
from tests.support.engine import Engine, Start


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file in the one folder that files are taken from."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "report.pdf"
    path.write_bytes(b"the report")
    return path


@pytest.fixture
def filing(start: Start, tmp_path: Path, source: Path) -> Engine:
    """A database that takes files."""
    database = str(tmp_path / "db.pkl")
    return start(files=Files(Disk(), str(tmp_path / "bigfiles"), [str(source.parent)], database))


def stored(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "bigfiles"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_file_is_moved_and_read_back_as_a_file(
    filing: Engine, source: Path, tmp_path: Path
) -> None:
    filing.put("report", File(str(source)))
    for _ in range(2):
        found = filing.get("read", index=("report",))
        assert (found.filename, Path(found.location).read_bytes()) == ("report.pdf", b"the report")
        assert stored(tmp_path) == [Path(found.location)]
        assert not source.exists()
        filing.restart()


def test_undo_and_redo_keep_the_file(filing: Engine, source: Path, tmp_path: Path) -> None:
    filing.put("report", File(str(source)))
    location = stored(tmp_path)
    filing.call("undo")
    assert stored(tmp_path) == location
    filing.restart()
    filing.call("redo")
    assert Path(filing.get("read", index=("report",)).location).read_bytes() == b"the report"


def test_the_source_stays_until_the_record_is_durable(filing: Engine, source: Path) -> None:
    request = Write((), "__setitem__", ("report", File(str(source))), version=2)
    filing.db.handle(encode_request(request))
    assert source.exists()
    filing.db.flush()
    assert not source.exists()


def test_a_command_that_fails_leaves_the_file_where_it_was(
    filing: Engine, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(PathKeyError):
        filing.put("report", File(str(source)), at=("no",))
    with pytest.raises(PathKeyError):
        filing.batch(
            Command((), "__setitem__", ("report", File(str(source)))), Command(("no",), "clear")
        )
    with pytest.raises(FileRefused):
        filing.batch(
            Command((), "__setitem__", ("report", File(str(source)))),
            Command((), "__setitem__", ("other", File("/etc/passwd"))),
        )
    assert source.read_bytes() == b"the report"
    assert stored(tmp_path) == []
    assert filing.tree == {}


def test_a_file_that_is_not_stored_stays_where_it_was(
    filing: Engine, source: Path, tmp_path: Path
) -> None:
    filing.put("report", "there already")
    assert filing.call("setdefault", "report", File(str(source))) == "there already"
    assert filing.call("pop", "no", File(str(source))).filename == "report.pdf"
    same = Command(("report",), "__eq__", (File(str(source)),))
    assert filing.batch(same) == [False]
    assert source.read_bytes() == b"the report"
    assert stored(tmp_path) == []


def test_a_file_from_elsewhere_is_refused(filing: Engine, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    for location in (str(outside), f"{tmp_path}/in/../secret", "in/report.pdf"):
        with pytest.raises(FileRefused):
            filing.put("report", File(location))
    assert filing.tree == {}


def test_the_journal_is_read_when_the_file_is_long_gone(
    filing: Engine, source: Path, tmp_path: Path
) -> None:
    filing.put("report", File(str(source)))
    before = filing.tree
    for path in stored(tmp_path):
        path.unlink()
    filing.restart()
    assert filing.tree == before


def test_a_start_removes_the_source_that_a_crash_left(
    filing: Engine, source: Path, tmp_path: Path
) -> None:
    filing.put("report", File(str(source)))
    os.link(stored(tmp_path)[0], source)
    filing.restart()
    assert not source.exists()
    source.write_bytes(b"a new report")
    filing.restart()
    assert source.read_bytes() == b"a new report"
    assert stored(tmp_path)[0].read_bytes() == b"the report"


def test_no_request_names_the_files_that_it_moved(filing: Engine, source: Path) -> None:
    os.link(source, source.parent / "other")
    fields = {"mode": "write", "version": 2, "index": [], "func": "__setitem__", "args": ["y", 1]}
    moved = [[str(source), str(source.parent / "other")]]
    filing.db.handle(json.dumps({**fields, "moved": moved}).encode())
    filing.db.flush()
    filing.restart()
    assert source.exists()


def test_source_stores_no_file_but_one_that_is_stored(
    start: Start, source: Path, tmp_path: Path
) -> None:
    folder = [str(source.parent)]
    engine = start(files=Files(Disk(), str(tmp_path / "bigfiles"), folder), exec=True)
    new = f"from pyzdb import File; db['b'] = [File({str(source)!r})]"
    with pytest.raises(ExecFailed, match="FileRefused"):
        engine.get("exec", command=new)
    engine.put("a", File(str(source)))
    assert engine.get("exec", command="db['b'] = db['a']._run(); print(db['b'] == db['a'])") == (
        "True\n"
    )
    assert len(stored(tmp_path)) == 1

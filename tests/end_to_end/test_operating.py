"""What docs/operating.md tells an operator to do, done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyzdb.cli import check
from pyzdb.values import File
from tests.support.programs import ROOT, Server

PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".log")}


def test_the_page_names_every_file_of_a_database(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["f"] = File(filename="a.txt", content=b"a")
    db.save()
    for name in names(server.folder):
        kind = name.partition("journal-")[0]
        assert f"`{kind}" in PAGE, name


def test_a_backup_of_a_running_server_is_restored(
    server: Server, connect: Callable[..., Any], tmp_path: Path
) -> None:
    db = connect(server.write_uri)
    db["x"] = 1
    db["f"] = File(filename="a.txt", content=b"a")
    db.save()
    backup = tmp_path / "backup"
    backup.mkdir()
    shutil.copy(server.filename, backup)
    shutil.copytree(server.folder / "bigfiles", backup / "bigfiles")
    db["x"] = 2
    server.stop()
    before = tmp_path / "before"
    before.mkdir()
    for path in [*server.folder.glob("db.pkl*"), server.folder / "bigfiles"]:
        path.rename(before / path.name)
    shutil.copy(backup / "db.pkl", server.folder)
    shutil.copytree(backup / "bigfiles", server.folder / "bigfiles")
    assert check.main([str(server.filename)]) == 0
    server.start()
    assert db["x"]._run() == 1
    assert Path(db["f"]._run().location).read_bytes() == b"a"
    assert "there is no journal beside" in server.said()


def test_a_backup_beside_a_newer_journal_is_refused(
    server: Server, connect: Callable[..., Any], tmp_path: Path
) -> None:
    db = connect(server.write_uri)
    db.save()
    shutil.copy(server.filename, tmp_path / "backup")
    db["x"] = 1
    db.save()
    db["x"] = 2
    server.kill()
    shutil.copy(tmp_path / "backup", server.filename)
    with pytest.raises(AssertionError, match="did not start"):
        server.start()


SECRET = b"a secret that was stored by mistake"


def test_a_history_is_purged_by_one_start_without(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = SECRET.decode()
    db["x"] = "harmless"
    server.stop()
    held = [path for path in server.folder.glob("db.pkl*") if SECRET in path.read_bytes()]
    assert held
    server.options = ("--history-limit", "0")
    server.start()
    assert server.stop() == 0
    for path in server.folder.glob("db.pkl*"):
        assert SECRET not in path.read_bytes(), path
    server.options = ()
    server.start()
    assert db._run() == {"x": "harmless"}
    assert db.history() == []

"""`pyzdb check`: what an operator sees of a whole and of a damaged database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyzdb.cli import FAILED, OK
from pyzdb.cli.check import main
from pyzdb.storage.parts import part_name
from pyzdb.storage.store import FileStore


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database with a snapshot up to record 2 and a journal of records 3 and 4."""
    path = str(tmp_path / "db.pkl")
    store = FileStore(path)
    store.open()
    for number in range(1, 5):
        store.reserve(6)
        store.append(b"body %d" % number)
        if number == 2:
            store.save(lambda: {"tree": {"x": 1}})
    store.close()
    return path


def damage(path: str, offset: int = 75) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xee")


def test_a_whole_database_is_described(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([path]) == OK
    said = capsys.readouterr()
    journal = part_name(path, 3)
    assert said.out.splitlines() == [
        f"{path}: snapshot, {os.path.getsize(path)} bytes, up to record 2",
        f"{journal}: journal, {os.path.getsize(journal)} bytes, records 3 to 4",
        f"{path} is whole, up to record 4",
    ]
    assert said.err == ""


def test_the_large_files_are_counted(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(path).with_name("bigfiles")
    folder.mkdir()
    (folder / "one").write_bytes(bytes(1000))
    (folder / "two").write_bytes(bytes(500))
    assert main([path]) == OK
    assert f"{folder}: 2 large files, 1,500 bytes" in capsys.readouterr().out


def test_damage_is_told_with_its_file_and_offset(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = part_name(path, 3)
    damage(journal)
    before = Path(journal).read_bytes()
    assert main([path]) == FAILED
    said = capsys.readouterr()
    assert f"{journal} is damaged at offset 70: what follows record 3 does not check" in said.out
    assert said.err == (f"pyzdb: {path} is damaged: --repair keeps what comes before the damage\n")
    assert Path(journal).read_bytes() == before


def test_every_damaged_file_is_named(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage(path, 50)
    damage(part_name(path, 3))
    assert main([path]) == FAILED
    said = capsys.readouterr()
    assert f"{path} is damaged at offset 41: its checksum is wrong" in said.out
    assert f"{part_name(path, 3)} is damaged at offset" in said.out
    assert "put an older copy of the database in its place" in said.err


def test_repair_keeps_the_good_part_and_says_what_it_did(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = part_name(path, 3)
    damage(journal)
    assert main(["--repair", path]) == OK
    said = capsys.readouterr()
    assert f"{journal} was cut at offset 70; the 38 bytes after it are kept in" in said.out
    assert said.out.endswith(f"{path} is whole, up to record 3\n")
    assert main([path]) == OK
    store = FileStore(path)
    opened = store.open()
    assert (opened.state, list(opened.records)) == ({"tree": {"x": 1}}, [(3, b"body 3")])
    store.close()


def test_what_cannot_be_repaired_is_left_alone(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(path, 50)
    before = Path(path).read_bytes()
    assert main(["--repair", path]) == FAILED
    assert "no journal from record 1 on makes up for it" in capsys.readouterr().err
    assert Path(path).read_bytes() == before


def test_an_unfinished_write_is_no_damage(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    journal = part_name(path, 3)
    os.truncate(journal, os.path.getsize(journal) - 1)
    assert main([path]) == OK
    said = capsys.readouterr().out
    assert "records 3 to 3; then 37 bytes of an unfinished write at offset 70" in said
    assert main(["--repair", path]) == OK
    assert "was cut at offset 70" in capsys.readouterr().out


def test_a_database_that_a_server_holds_is_not_touched(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(path)
    store.open()
    assert main(["--repair", path]) == FAILED
    store.close()
    said = capsys.readouterr().err
    assert said.startswith(f"pyzdb: {path} is in use by pid {os.getpid()} on ")


def test_what_is_not_there_is_told_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.pkl")]) == FAILED
    assert capsys.readouterr().err == f"pyzdb: there is no database {tmp_path}/none.pkl\n"
    assert os.listdir(tmp_path) == []


def test_the_command_is_one_of_pyzdb(path: str) -> None:
    command = [sys.executable, "-m", "pyzdb", "check"]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"{path} is whole, up to record 4\n")
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "pyzdb check [-h] [--version] [--repair] db_filename" in told.stdout

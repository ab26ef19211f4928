"""`pyzdb check`: what an operator sees of a whole and of a damaged database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyzdb.cli import FAILED, OK
from pyzdb.cli.check import IN_USE, main
from pyzdb.engine.history import HISTORY_LIMIT
from pyzdb.errors import NewerFormat
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import HEADER_SIZE
from tests.support.engine import Engine


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database with a snapshot up to record 2 and a journal of records 3 and 4."""
    path = str(tmp_path / "db.pkl")
    engine = Engine(FileStore(path), Path(path), history_limit=HISTORY_LIMIT)
    for number in range(1, 5):
        engine.put(f"key {number}", number)
        if number == 2:
            engine.db.save()
    engine.db.close()
    return path


def end_of_record_3(path: str) -> int:
    """Where the first of the two records of the journal ends, which are of one size."""
    size = os.path.getsize(Layout(path).part(3))
    return (size + HEADER_SIZE) // 2


def damage(path: str, offset: int = 175) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def test_a_whole_database_is_described(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([path]) == OK
    said = capsys.readouterr()
    journal = Layout(path).part(3)
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
    journal, end = Layout(path).part(3), end_of_record_3(path)
    damage(journal)
    before = Path(journal).read_bytes()
    assert main([path]) == FAILED
    said = capsys.readouterr()
    assert (
        f"{journal} is damaged at offset {end}: what follows record 3 fails its checksum"
        in said.out
    )
    assert said.err == (f"pyzdb: {path} is damaged: --repair keeps what comes before the damage\n")
    assert Path(journal).read_bytes() == before


def test_every_damaged_file_is_named(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage(path, 50)
    damage(Layout(path).part(3))
    assert main([path]) == FAILED
    said = capsys.readouterr()
    assert f"{path} is damaged at offset 41: its checksum is wrong" in said.out
    assert f"{Layout(path).part(3)} is damaged at offset" in said.out
    assert "put an older copy of the database in its place" in said.err


def test_repair_keeps_the_good_part_and_says_what_it_did(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, end = Layout(path).part(3), end_of_record_3(path)
    size = end - HEADER_SIZE
    damage(journal)
    assert main(["--repair", path]) == OK
    said = capsys.readouterr()
    assert f"{journal} was cut at offset {end}; the {size} bytes after it are kept in" in said.out
    assert said.out.endswith(f"{path} is whole, up to record 3\n")
    assert main([path]) == OK
    engine = Engine(FileStore(path), Path(path), history_limit=HISTORY_LIMIT)
    assert engine.tree == {"key 1": 1, "key 2": 2, "key 3": 3}
    engine.db.close()


def test_what_cannot_be_repaired_is_left_alone(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(path, 50)
    before = Path(path).read_bytes()
    assert main(["--repair", path]) == FAILED
    assert "no journal from record 1 on makes up for it" in capsys.readouterr().err
    assert Path(path).read_bytes() == before


def test_an_unfinished_write_is_no_damage(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    journal, end = Layout(path).part(3), end_of_record_3(path)
    size = end - HEADER_SIZE - 1
    os.truncate(journal, os.path.getsize(journal) - 1)
    assert main([path]) == OK
    said = capsys.readouterr().out
    assert f"records 3 to 3; then {size} bytes of an unfinished write at offset {end}" in said
    assert main(["--repair", path]) == OK
    assert f"was cut at offset {end}" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_a_database_that_a_server_has_is_not_checked_and_has_a_status_of_its_own(
    path: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(path, notice="tcp://127.0.0.1:5562")
    store.open()
    assert main([*options, path]) == IN_USE
    store.close()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"pyzdb: {path} is in use by pid {os.getpid()} on ")
    assert said.err.endswith(": nothing was checked; end that process first, or check a copy\n")
    assert main([*options, path]) == OK


def test_what_is_not_there_is_told_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.pkl")]) == FAILED
    assert capsys.readouterr().err == f"pyzdb: there is no database {tmp_path}/none.pkl\n"
    assert os.listdir(tmp_path) == []


READING_ONLY = """
import os, sys
import portalocker  # which looks where temporary files can be written
from pyzdb.cli.check import main
from pyzdb.engine.history import HISTORY_LIMIT


def refuse(event, arguments):
    changes = event in ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.link")
    if changes or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise PermissionError(13, "Permission denied", arguments[0])

sys.addaudithook(refuse)
sys.exit(main(sys.argv[1:]))
"""
"""A program that may write nothing, whoever runs it."""


@pytest.mark.untraced
@pytest.mark.parametrize("lock_file", [True, False])
def test_a_database_is_checked_without_permission_to_write(path: str, lock_file: bool) -> None:
    if not lock_file:  # as in a copy of a backup
        os.unlink(f"{path}.lock")
    before = sorted(os.listdir(os.path.dirname(path)))
    command = [sys.executable, "-B", "-c", READING_ONLY, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (OK, "")
    assert done.stdout.endswith("is whole, up to record 4\n")
    assert sorted(os.listdir(os.path.dirname(path))) == before


def test_a_check_changes_no_file(path: str) -> None:
    paths = [Path(path), Path(f"{path}.lock"), Path(Layout(path).part(3))]
    before = [(each.read_bytes(), each.stat().st_mtime_ns) for each in paths]
    assert main([path]) == OK
    assert main(["--repair", path]) == OK
    assert [(each.read_bytes(), each.stat().st_mtime_ns) for each in paths] == before


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_a_file_that_is_not_a_database_gets_no_lock_file(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text('{"x": 1}')
    assert main([*options, str(tmp_path / "x.json")]) == FAILED
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_database_whose_lock_file_was_removed_is_found_in_use(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(path)
    store.open()
    os.unlink(f"{path}.lock")
    assert main([path]) == IN_USE
    store.close()
    assert "is in use by another process" in capsys.readouterr().err


def test_a_check_loads_no_zeromq(path: str) -> None:
    source = "import sys; from pyzdb.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", source, "check", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "pyzdb.cli.check" in loaded
    assert [name for name in loaded if name.partition(".")[0] == "zmq"] == []


@pytest.mark.parametrize("options", [[], ["--repair"]])
@pytest.mark.parametrize("of", ["the snapshot", "the journal"])
def test_what_a_newer_version_wrote_is_said_to_be_that_and_left_alone(
    path: str, of: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    newer = path if of == "the snapshot" else Layout(path).part(3)
    content = Path(newer).read_bytes()
    magic = content[: content.index(b"\n") + 1]
    later = magic.replace(b"1", b"2") + b"a header of another kind" + content
    Path(newer).write_bytes(later)
    before = sorted(os.listdir(os.path.dirname(path)))
    assert main([*options, path]) == FAILED
    assert f"{newer} was written by a newer version of pyzdb" in capsys.readouterr().err
    with pytest.raises(NewerFormat, match="newer version"):
        FileStore(path).open()
    assert Path(newer).read_bytes() == later
    assert sorted(os.listdir(os.path.dirname(path))) == before


@pytest.mark.parametrize("of", ["the snapshot", "the journal"])
def test_one_wrong_bit_makes_nothing_newer(
    path: str, of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = path if of == "the snapshot" else Layout(path).part(3)
    content = bytearray(Path(damaged).read_bytes())
    content[content.index(b"\n") - 1] ^= 2
    Path(damaged).write_bytes(content)
    assert main([path]) == FAILED
    assert f"{damaged} is damaged at offset 0" in capsys.readouterr().out


def test_a_database_in_a_folder_whose_name_is_not_utf_8_is_checked(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr")
    os.mkdir(folder)
    store = FileStore(f"{folder}/db.pkl")
    store.open()
    store.close()
    command = [sys.executable, "-m", "pyzdb", "check", f"{folder}/db.pkl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (OK, "")
    assert "f\\udcfcr/db.pkl is whole" in done.stdout


def test_the_command_is_one_of_pyzdb(path: str) -> None:
    command = [sys.executable, "-m", "pyzdb", "check"]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"{path} is whole, up to record 4\n")
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "pyzdb check [-h] [--version] [--repair] db_filename" in told.stdout

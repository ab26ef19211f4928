"""What docs/operating.md tells an operator to do, done."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyzdb.cli import serve
from pyzdb.server import Options
from pyzdb.values import File
from tests.support.pages import Shell, blocks, commands, text_of
from tests.support.programs import Server

PAGE = "docs/operating.md"
TEXT = text_of(PAGE)
COMMANDS = commands(PAGE)

NOT_RUN = {"From another machine", "Run it as a service"}
"""Headings whose commands need another machine, or a program that need not be here."""

RUN = {
    "Two databases on one machine",
    "Backup",
    "Restore",
    "Purge the history",
    "Check and repair",
    "Run source in the server",
}
"""Headings whose commands are run below."""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in the test's folder, whose servers have ended at the end."""
    with Shell(tmp_path) as opened:
        yield opened


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix not in (".log", "")}


def test_every_command_is_run_below() -> None:
    assert set(COMMANDS) == RUN | NOT_RUN


def test_the_page_names_every_option_and_default() -> None:
    for action in serve.parser()._actions:
        for name in (
            *action.option_strings,
            *([] if action.option_strings else [action.metavar or action.dest]),
        ):
            assert f"`{name}" in TEXT or f", `{name}`" in TEXT or f"-{name}" in TEXT, name
    default = Options()
    for value in (*default.listening, default.filename):
        assert f"`{value}`" in TEXT or value.startswith("inproc:"), value
    for limit in (default.history_limit, default.snapshot_bytes):
        assert f"({limit})" in TEXT.replace(",", ""), limit


def test_what_starts_a_service_can_be_parsed() -> None:
    [unit] = [block.text for block in blocks(PAGE) if block.language == "ini"]
    [start] = re.findall(r"^ExecStart=(.*)$", unit, re.M)
    [container] = COMMANDS["Run it as a service"]
    for command in (start, container):
        _, _, arguments = command.partition("pyzdb serve ")
        assert serve.parser().parse_args(shlex.split(arguments)).filename.endswith("/db.pkl")


def test_the_page_names_every_file_of_a_database(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["f"] = File(filename="a.txt", content=b"a")
    db.save()
    for path in server.folder.iterdir():
        kind = path.name.partition("journal-")[0]
        assert path.suffix == ".log" or f"`{kind}" in TEXT, path.name


def test_two_databases_are_served_on_one_machine(shell: Shell, connect: Callable[..., Any]) -> None:
    first, second, prompt, read_only = COMMANDS["Two databases on one machine"]
    shell.run([first, second])
    one = connect(shell.addresses.of(5559))
    two = connect(shell.addresses.of(6559))
    one["x"], two["x"] = 1, 2
    shell.run([prompt])
    assert f" for {shell.addresses.of(6562)} " in shell.run([read_only])
    of_two = connect(shell.addresses.of(6559), shell.addresses.of(6561))
    assert (one._run(), two._run(), of_two._run()) == ({"x": 1}, {"x": 2}, {"x": 2})
    shell.stop()


@pytest.mark.parametrize("with_files", [True, False])
def test_a_backup_of_a_running_server_is_restored(
    shell: Shell, connect: Callable[..., Any], with_files: bool
) -> None:
    start = ".venv/bin/pyzdb serve"
    shell.run([start])
    db = connect(shell.addresses.of(5559))
    db["x"] = 1
    if with_files:
        db["f"] = File(filename="a.txt", content=b"a")
    shell.run(COMMANDS["Backup"])
    db["x"] = 2
    shell.stop()
    shell.run(COMMANDS["Restore"])
    assert (shell.folder / "bigfiles").exists() == with_files
    shell.run([start])
    assert db["x"]._run() == 1
    if with_files:
        assert Path(db["f"]._run().location).read_bytes() == b"a"
    shell.stop()


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


def test_damage_is_repaired(shell: Shell, connect: Callable[..., Any]) -> None:
    shell.run([".venv/bin/pyzdb serve"])
    db = connect(shell.addresses.of(5559))
    for number in range(10):
        db["x"] = number
    [journal] = shell.folder.glob("db.pkl.journal-*")
    copy = shell.folder / "copy"
    copy.mkdir()
    shutil.copy(journal, copy)
    content = bytearray((copy / journal.name).read_bytes())
    content[content.rindex(b'"x",9')] ^= 1
    (copy / journal.name).write_bytes(content)
    shell.stop()
    aside = Shell(copy, shell.addresses)
    assert "damage" in aside.run(COMMANDS["Check and repair"])
    aside.run([".venv/bin/pyzdb serve"])
    assert db["x"]._run() == 8
    aside.stop()


def test_source_is_run_in_a_server(shell: Shell) -> None:
    assert shell.run(COMMANDS["Run source in the server"]).endswith("\n0\n")
    shell.stop()


SECRET = b"a secret that was stored by mistake"


def test_a_history_is_purged_by_one_start_without(
    shell: Shell, connect: Callable[..., Any]
) -> None:
    start = ".venv/bin/pyzdb serve"
    shell.run([start])
    db = connect(shell.addresses.of(5559))
    db["x"] = SECRET.decode()
    db["x"] = "harmless"
    shell.stop()
    files = list(shell.folder.glob("db.pkl*"))
    assert [path for path in files if SECRET in path.read_bytes()]
    shell.run(COMMANDS["Purge the history"])
    shell.stop()
    for path in shell.folder.glob("db.pkl*"):
        assert SECRET not in path.read_bytes(), path
    shell.run([start])
    assert db._run() == {"x": "harmless"}
    assert db.history() == []
    shell.stop()

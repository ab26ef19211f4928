"""The prompt on a real terminal: history, completion, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pyzdb.cli.kept_history import KeptHistory
from pyzdb.cli.terminal import state_folder
from tests.support.programs import LIMIT, Server, environment, script
from tests.torture.processes import free_uris

CTRL_C, CTRL_D, TAB, UP, ENTER = b"\x03", b"\x04", b"\t", b"\x1b[A", b"\r"

WHERE_IS_THE_CURSOR = b"\x1b[6n"
"""What a program asks its terminal; it waits for the answer."""

FIRST_COLUMN = b"\x1b[1;1R"

ON_A_TERMINAL = [
    sys.executable,
    "-c",
    "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])",
]
"""Runs a program so that its standard input is the terminal whose Ctrl-C it gets."""

CONTROL = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")


def pasted(text: str) -> bytes:
    """What a terminal sends for a text that is pasted."""
    return b"\x1b[200~" + text.encode() + b"\x1b[201~"


class Terminal:
    """A program on a terminal of its own, and a person who types and reads there."""

    def __init__(self, command: list[str], home: Path) -> None:
        self.near, far = pty.openpty()
        variables = environment(XDG_STATE_HOME=str(home), TERM="xterm", COLUMNS="80", LINES="24")
        self.process = subprocess.Popen(
            [*ON_A_TERMINAL, *command], stdin=far, stdout=far, stderr=far, env=variables
        )
        os.close(far)
        self._shown = b""

    def type(self, *keys: str | bytes) -> None:
        for key in keys:
            os.write(self.near, key.encode() if isinstance(key, str) else key)

    def read_until(self, text: str) -> str:
        """What is shown up to a text that comes next. Raises TimeoutError when it does not."""
        deadline = time.monotonic() + LIMIT
        while True:
            plain = CONTROL.sub(b"", self._shown)
            before, found, after = plain.partition(text.encode())
            if found:
                self._shown = after
                return before.decode()
            if not self._read(deadline - time.monotonic()):
                raise TimeoutError(f"{text!r} was not shown; this was: {plain.decode()!r}")

    def read_prompt(self) -> None:
        """Wait for the next prompt: keys that are typed before it are taken as text."""
        self.read_until(">")

    def leave(self) -> int:
        """Press Ctrl-D at the next prompt, and return the exit status."""
        self.read_prompt()
        self.type(CTRL_D)
        return self.end()

    def end(self) -> int:
        """Wait for the end of the program, and return its exit status."""
        while self._read(LIMIT):
            pass
        return self.process.wait(LIMIT)

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self.near], [], [], seconds)[0]:
            return False
        try:
            shown = os.read(self.near, 65536)
        except OSError:  # the program has ended
            return False
        if WHERE_IS_THE_CURSOR in shown:
            self.type(FIRST_COLUMN)
        self._shown += shown
        return bool(shown)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.near)


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Run a script of the repository on a terminal: `open_terminal(name, *arguments)`."""
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Terminal:
            terminal = Terminal([*script(name), *arguments], tmp_path)
            stack.callback(terminal.close)
            return terminal

        yield start


def test_a_conversation_and_its_history(
    server: Server, open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = open_terminal("client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("db['number'] = 12345", ENTER)
    terminal.read_until("None\n")
    terminal.type("db['number']", ENTER)
    terminal.read_until("12345\n")
    # A line that is given up is not run, and the prompt stays.
    terminal.read_prompt()
    terminal.type("db['number'] = 0", CTRL_C)
    terminal.read_prompt()
    terminal.type("db['nothing']", ENTER)
    terminal.read_until("PathKeyError: ")
    assert terminal.leave() == 0

    history = tmp_path / "pyzdb" / "history"
    assert "+db['number'] = 12345" in history.read_text().splitlines()
    assert history.stat().st_mode & 0o777 == 0o600

    again = open_terminal("client.py", server.write_uri)
    again.read_prompt()
    again.type(UP, UP, ENTER)
    again.read_until("12345\n")
    assert again.leave() == 0


def test_tab_completes_the_keys_of_the_path(
    server: Server, connect: Callable[..., Any], open_terminal: Callable[..., Terminal]
) -> None:
    connect(server.write_uri)["people"] = {"christopher": "found"}
    terminal = open_terminal("client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("db['people']['ch", TAB)
    terminal.read_until("ristopher']")
    terminal.type(ENTER)
    terminal.read_until("'found'\n")


def test_ctrl_c_stops_a_query_that_waits_and_keeps_the_prompt(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    (uri,) = free_uris(1)
    terminal = open_terminal("client.py", uri)
    terminal.read_prompt()
    terminal.type("db", ENTER)
    terminal.read_until(f"no answer from {uri}; still trying")
    terminal.type(CTRL_C)
    terminal.read_until("stopped waiting; what was sent may still be done\n")
    server = Server(tmp_path)
    server.uris[0] = uri
    with server:
        terminal.type("db", ENTER)
        terminal.read_until("{}\n")
        assert terminal.leave() == 0


def test_a_block_is_continued_until_an_empty_line(
    server: Server, connect: Callable[..., Any], open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal("client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("with db.batch() as batch:", ENTER)
    terminal.read_until("\n.")
    terminal.type("    batch['x'] = 1", ENTER, ENTER)
    terminal.read_until("None\n")
    assert connect(server.write_uri)._run() == {"x": 1}


def test_what_is_pasted_is_run_statement_by_statement(
    server: Server, connect: Callable[..., Any], open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal("client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type(pasted("> db['x'] = 3\nNone\n> def f():\n.     pass\n\n.     return 4\n"), ENTER)
    terminal.read_until("None\nNone\n")
    terminal.read_prompt()
    terminal.type(pasted("for n in range(5):\n    db[n] = n\n\ndb['x'] += f()"), ENTER)
    terminal.read_until("None\nNone\n")
    assert connect(server.write_uri)._run() == {"x": 7} | {n: n for n in range(5)}


def test_the_name_of_the_tree_is_not_bound_to_another_value(
    server: Server, open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal("client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("db = {'x': 1}", ENTER)
    terminal.read_until("nothing was stored")
    terminal.read_prompt()
    terminal.type("db", ENTER)
    terminal.read_until("{}\n")


def test_source_for_the_server_is_typed_statement_by_statement(
    start_server: Callable[..., Server], open_terminal: Callable[..., Terminal]
) -> None:
    server = start_server("--exec")
    terminal = open_terminal("exec_client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("for n in range(2):", ENTER)
    terminal.read_until("\n.")
    terminal.type("    print('line', n)", ENTER, ENTER)
    terminal.read_until("line 0\nline 1\n")
    terminal.type("1 +", ENTER)
    terminal.read_until("SyntaxError: ")
    terminal.type("print(40 + 2)", ENTER)
    terminal.read_until("42\n")
    assert terminal.leave() == 0


def test_source_for_the_server_may_be_pasted(
    start_server: Callable[..., Server], open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal("exec_client.py", start_server("--exec").write_uri)
    terminal.read_prompt()
    terminal.type(pasted("for n in range(2):\n    print('line', n)\n\nprint(40 + 2)"), ENTER)
    terminal.read_until("line 0\nline 1\n42\n")
    assert terminal.leave() == 0


def test_source_is_refused_where_exec_is_off(
    server: Server, open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal("exec_client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("print(1)", ENTER)
    terminal.read_until("it must be started with --exec for that")
    assert terminal.end() == 1


def test_the_history_lies_where_the_system_keeps_such_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "pyzdb"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local" / "state" / "pyzdb"


def a_file_for_a_folder(home: Path) -> None:
    (home / "pyzdb").touch()


def a_folder(home: Path) -> None:
    (home / "pyzdb" / "history").mkdir(parents=True)


def a_pipe(home: Path) -> None:
    (home / "pyzdb").mkdir()
    os.mkfifo(home / "pyzdb" / "history")


@pytest.mark.parametrize("spoil", [a_file_for_a_folder, a_folder, a_pipe])
def test_a_history_that_cannot_be_kept_is_told_in_a_line_and_the_prompt_works(
    server: Server,
    open_terminal: Callable[..., Terminal],
    tmp_path: Path,
    spoil: Callable[[Path], None],
) -> None:
    spoil(tmp_path)
    terminal = open_terminal("client.py", server.write_uri)
    terminal.read_prompt()
    terminal.type("db", ENTER)
    shown = terminal.read_until("{}\n")
    terminal.read_prompt()
    terminal.type("db['x'] = 1", ENTER)
    shown += terminal.read_until("None\n")
    assert "Traceback" not in shown
    assert shown.count("the history is not kept in ") <= 1
    assert terminal.leave() == 0


def test_the_warning_of_a_history_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    KeptHistory(tmp_path).append_string("kept in memory")
    assert capsys.readouterr().err == f"the history is not kept in {tmp_path}: it is a folder\n"
    file = tmp_path / "history"
    history = KeptHistory(file)
    file.unlink()
    file.mkdir()
    for text in ("one", "two"):
        history.append_string(text)
    assert capsys.readouterr().err == f"the history is not kept in {file}: Is a directory\n"
    assert history.get_strings() == ["one", "two"]

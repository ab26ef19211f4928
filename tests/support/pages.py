"""The pages that users read, and what they show: Python, sessions at a prompt, and commands.

Rules this module keeps:

- What a page shows is run as it stands there, but for three things that a test has elsewhere: the
  programs, the addresses, and the folder /backup.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.programs import LIMIT, ROOT, environment
from tests.torture.processes import free_uris

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
"""The pages, by their path in the repository."""

_PARTS = re.compile(r"^(#+ [^\n]*)$|^```(\w*)\n(.*?)^```$", re.M | re.S)

_ADDRESS = re.compile(r"tcp://(?:localhost|127\.0\.0\.1):(\d+)")

_DEFAULT_PORTS = (5559, 5561, 5562, 5558)
"""Of a server that is not told otherwise, in the order of its command line."""


class Block(NamedTuple):
    """A block of code: the ``heading`` that it is under, its ``language``, and its ``text``."""

    heading: str
    language: str
    text: str


def text_of(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """The blocks of code of a page."""
    found, heading = [], ""
    for title, language, text in _PARTS.findall(text_of(page)):
        if title:
            heading = title.lstrip("# ")
        else:
            found.append(Block(heading, language, text))
    return found


def headings(page: str) -> list[str]:
    """The headings of a page."""
    return [title.lstrip("# ") for title, _, _ in _PARTS.findall(text_of(page)) if title]


def commands(page: str) -> dict[str, list[str]]:
    """What is typed at a shell, by the heading that it is under."""
    found: dict[str, list[str]] = {}
    for block in blocks(page):
        if block.language == "console":
            typed = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
            found.setdefault(block.heading, []).extend(typed)
    return found


class Addresses:
    """Free addresses in the place of those that pages show."""

    def __init__(self) -> None:
        self._free: dict[str, str] = {}

    def of(self, port: int) -> str:
        """The address in place of one with a port."""
        return self._in_place(str(port))

    def put_into(self, text: str) -> str:
        """The text with the addresses of this machine in it replaced."""
        return _ADDRESS.sub(lambda found: self._in_place(found[1]), text)

    def _in_place(self, port: str) -> str:
        if port not in self._free:
            [self._free[port]] = free_uris(1)
        return self._free[port]


class Shell:
    """Runs what pages show in a folder; the servers that it starts end with its `with` block."""

    def __init__(self, folder: Path, addresses: Addresses | None = None) -> None:
        self.folder = folder
        self.addresses = addresses or Addresses()
        self.backup = folder / "backup"
        self.backup.mkdir()
        self._servers: list[subprocess.Popen[str]] = []

    def run(self, typed: Sequence[str]) -> str:
        """Run commands one after another, and return what they print. Those that start a server
        go on until `stop`. Raises AssertionError when one fails."""
        return "".join([self._run_one(self.as_here(command)) for command in typed])

    def _run_one(self, command: str) -> str:
        if " -m pyzdb serve" in command:
            return self._serve(command)
        done = subprocess.run(
            ["sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=LIMIT,
            check=False,
            cwd=self.folder,
            env=environment(),
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def _serve(self, command: str) -> str:
        server = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment(),
        )
        self._servers.append(server)
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, f"{command} did not start"
        return line

    def stop(self) -> None:
        """End the servers, the last one first, as Ctrl-C does."""
        while self._servers:
            server = self._servers.pop()
            server.terminate()
            server.communicate(timeout=LIMIT)
            assert server.returncode == 0

    def as_here(self, command: str) -> str:
        """A command of a page as it is run here."""
        words = f" {command} "
        has_addresses = _ADDRESS.search(command) is not None
        command = self.addresses.put_into(command)
        if not has_addresses and " serve " in words and " -ro " not in words:
            if ".pkl" not in command:
                command += " db.pkl"
            write, read, back, lock = map(self.addresses.of, _DEFAULT_PORTS)
            command += f" {write} '' {read} {back} {lock}"
        elif not has_addresses and (" shell " in words or " exec " in words):
            command += f" {self.addresses.of(_DEFAULT_PORTS[0])}"
        python = shlex.quote(sys.executable)
        command = command.replace(".venv/bin/pyzdb", f"{python} -m pyzdb")
        command = command.replace(".venv/bin/python", python)
        return command.replace("/backup/", f"{shlex.quote(str(self.backup))}/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.kill()
            server.communicate()

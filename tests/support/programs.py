"""The programs of this project as processes, for tests that use them as a user does.

A process is ended by its own id when its `with` block or its test ends. Nothing here waits for a
time: a server is waited for by the line that it prints, a client by its answer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import zmq

from tests.support.without import VARIABLE, lacking
from tests.torture.processes import free_uris

ROOT = Path(__file__).parents[2]

LIMIT = 60.0
"""Seconds within which anything must happen that a test waits for: the machine may be busy."""

CHECK_INTERVAL = 0.01
"""Seconds between two looks at a condition."""


def script(name: str) -> list[str]:
    """The command of one of the scripts at the top of the repository, on the tests' system."""
    program, names = str(ROOT / name), os.environ.get(VARIABLE)
    return lacking(names, program) if names else [sys.executable, program]


def environment(**more: str) -> dict[str, str]:
    """The environment of a program: what it warns of is an error, and it finds the package."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def run(command: Sequence[str], text: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with a text as its input."""
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment(),
        **more,
    )


def wait_until(condition: Callable[[], Any]) -> Any:
    """Return the first true value of a condition. Raises TimeoutError after LIMIT seconds."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(CHECK_INTERVAL)
    raise TimeoutError(f"waited for {LIMIT} s")


def processor_ticks(pid: int) -> int:
    """How long a process has run by now, in ticks of the system's clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Server:
    """server.py on free addresses of this machine, with its database in a folder.

    ``options`` are added to its command line; ``writer`` is the server whose file and addresses a
    read-only server uses.
    """

    def __init__(self, folder: Path, *options: str, writer: Server | None = None) -> None:
        self.folder = folder
        self.options = options
        self.before: list[str] = []  # a command that runs the rest of its arguments
        self.filename = folder / "db.pkl"
        # In the order of the command line.
        if writer is None:
            write, read, back, lock = free_uris(4)
            self.uris = [write, "", read, back, lock]
        else:
            self.uris = writer.uris
        self.is_read_only = writer is not None
        self.log = folder / f"server-{id(self):x}.log"
        self.process: subprocess.Popen[str] | None = None
        self.line = ""

    @property
    def write_uri(self) -> str:
        return self.uris[0]

    @property
    def read_uri(self) -> str:
        return self.uris[2]

    @property
    def lock_uri(self) -> str:
        return self.uris[4]

    @property
    def arguments(self) -> list[str]:
        """The command line, without the program."""
        read_only = ["-ro"] if self.is_read_only else []
        return [*read_only, *self.options, str(self.filename), *self.uris]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> Self:
        """Start the process, and return when it has said that it serves."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*self.before, *script("server.py"), *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=environment(),
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        if not self.line:
            self.kill()
            raise AssertionError(f"the server did not start: {self.said()}")
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the process a signal, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def kill(self) -> None:
        """End the process as a crash would."""
        self.stop(signal.SIGKILL)

    def said(self) -> str:
        """What the process wrote to its standard error."""
        return self.log.read_text() if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.kill()


class Conversation:
    """client.py, or another program that answers each line with one line, with its ends held."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*script("client.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment(),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin, self.stdout, self.stderr = (
            self.process.stdin,
            self.process.stdout,
            self.process.stderr,
        )

    def tell(self, line: str) -> None:
        """Send a line, and do not wait for its answer."""
        self.stdin.write(line + "\n")
        self.stdin.flush()

    def ask(self, line: str) -> str:
        """Send a line and return the line that answers it."""
        self.tell(line)
        return self.stdout.readline().rstrip("\n")

    def finish(self) -> int:
        """End the input and return the exit status."""
        self.stdin.close()
        return self.process.wait(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.stdin, self.stdout, self.stderr):
            end.close()


@contextmanager
def forked(begin: Callable[[], object]) -> Iterator[int]:
    """The id of a process that has done ``begin`` and keeps what came of it until it is killed."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kept = begin()
            os.write(tell, b"begun")
            signal.pause()
            del kept
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(told, 5) == b"begun"
        yield pid
    finally:
        os.close(told)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def raw_socket(kind: int, uri: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket of ZeroMQ that is connected to an address."""
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger = 0
        socket.rcvtimeo = int(LIMIT * 1000)
        socket.connect(uri)
        yield socket

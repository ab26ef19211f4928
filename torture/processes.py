"""The server as a process: started, killed, stopped and watched by its own process id."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

READY_LIMIT = 60.0
"""Seconds within which a server must answer after its start: far more than a start takes, as the
machine may be busy with other tests."""

PORTS = range(10_000, 32_768)
"""Ports to listen on. They lie below those that the system gives to outgoing connections: there, a
client that tries to reach a server that is down now and then connects to itself, and the server
finds its port taken."""

PROBE = b'{"mode": "read", "index": [], "func": "__len__", "args": [], "kwargs": {}}'
"""The request that shows that a server serves: how many keys the root has."""

LOG_SHOWN = 500
"""Characters of the log that are told when a server ends by itself."""


class ServerEnded(Exception):
    """The server ended by itself, or did not answer in time; the text says how."""


class Server:
    """A server of the database file ``folder/db.pkl`` on free ports of this machine.

    ``options`` are added to its command line. Leaving the block kills it.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.write_uri, self.read_uri, self.back_uri, self.lock_uri = free_uris(4)
        self.filename = folder / "db.pkl"
        self.log = folder / "server.log"
        self._command = [
            *(sys.executable, "-m", "pyzdb", "serve", *options, str(self.filename)),
            *(self.write_uri, "", self.read_uri, self.back_uri, self.lock_uri),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Start the process and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait_until_ready(self) -> float:
        """Return when the server has answered, and the seconds that it took.

        Raises ServerEnded when it ended before, or did not answer within READY_LIMIT.
        """
        started = time.monotonic()
        with zmq.Context() as context, context.socket(zmq.REQ) as probe:
            probe.setsockopt(zmq.LINGER, 0)
            probe.setsockopt(zmq.RECONNECT_IVL, 10)
            probe.connect(self.write_uri)
            probe.send(PROBE)
            while not probe.poll(20):
                self.check()
                if time.monotonic() - started > READY_LIMIT:
                    raise ServerEnded(f"no answer within {READY_LIMIT} s: {self._last_words()}")
        return time.monotonic() - started

    def check(self) -> None:
        """Raise ServerEnded when the process has ended by itself."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            raise ServerEnded(f"the server ended with status {status}: {self._last_words()}")

    def kill(self) -> None:
        """Kill the process as ``kill -9`` does. Raises ServerEnded when it had ended before."""
        assert self._process is not None
        self._process.kill()
        status = self._process.wait()
        if status != -signal.SIGKILL:
            raise ServerEnded(f"the server ended with status {status}: {self._last_words()}")

    def stop(self) -> None:
        """Have the server save and end. Raises ServerEnded when its status is not 0."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(READY_LIMIT)
        if status != 0:
            raise ServerEnded(f"the server ended with status {status}: {self._last_words()}")

    def _last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-LOG_SHOWN:].strip() or "it said nothing"


def free_uris(number: int) -> list[str]:
    """Return addresses of this machine that nobody listens on."""
    found: list[socket.socket] = []
    try:
        while len(found) < number:
            try:
                found.append(socket.create_server(("127.0.0.1", random.choice(PORTS))))
            except OSError:
                continue
        return [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in found]
    finally:
        for each in found:
            each.close()

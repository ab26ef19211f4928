"""The server as a process: started, killed, stopped and watched by its own process id.

It is the command `pyzdb serve` in a process that is forked from one which has imported it already:
a test that starts thousands of servers would otherwise wait for Python's imports most of the time.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

import zmq

from pyzdb.cli import serve

READY_LIMIT = 60.0
"""Seconds within which a server must answer after its start: far more than a start takes, as the
machine may be busy with other tests."""

LOOK = 20
"""Milliseconds between two looks whether a server has ended that should answer."""

PORTS = range(10_000, 32_768)
"""Ports to listen on. They lie below those that the system gives to outgoing connections, which
would be in the way of a server that listens on every interface."""

PROBE = b'{"version": 2, "mode": "hello"}'
"""The request that shows that a server serves, also while somebody holds the lock."""

LOG_SHOWN = 500
"""Characters of the log that are told when a server ends by itself."""

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload([__name__])


class ServerEnded(Exception):
    """The server ended by itself, or did not answer in time; the text says how."""


class Server:
    """A server of the database file ``folder/db.pkl`` on free ports of this machine.

    ``options`` are added to its command line; ``kills`` counts how often it was killed; ``program``
    is what the process runs. Leaving the block kills it.
    """

    program: Callable[[Sequence[str]], int] = staticmethod(serve.main)

    def __init__(self, folder: Path, *options: str) -> None:
        self.write_uri, self.read_uri, self.back_uri, self.lock_uri = free_uris(4)
        self.filename = folder / "db.pkl"
        self.log = folder / "server.log"
        self.kills = 0
        uris = (self.write_uri, "", self.read_uri, self.back_uri, self.lock_uri)
        self._arguments = (*options, str(self.filename), *uris)
        self._process: ForkServerProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def asked_uri(self) -> str:
        """The address that answers when the server is ready."""
        return self.write_uri

    @property
    def pid(self) -> int:
        """The id of the process that runs."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and return at once."""
        arguments = (self.program, str(self.log), self._arguments)
        self._process = forks.Process(target=_serve, args=arguments)
        self._process.start()

    def wait_until_ready(self) -> float:
        """Return when the server has answered, and the seconds that it took.

        Raises ServerEnded when it ended before, or did not answer within READY_LIMIT.
        """
        started = time.monotonic()
        with zmq.Context() as context, context.socket(zmq.REQ) as probe:
            probe.linger = 0
            probe.reconnect_ivl = LOOK
            probe.connect(self.asked_uri)
            probe.send(PROBE)
            while not probe.poll(LOOK):
                self.check()
                if time.monotonic() - started > READY_LIMIT:
                    raise ServerEnded(f"no answer within {READY_LIMIT} s: {self._last_words()}")
        return time.monotonic() - started

    def check(self) -> None:
        """Raise ServerEnded when the process has ended by itself."""
        assert self._process is not None
        if self._process.exitcode is not None:
            self._end(None)

    def kill(self) -> None:
        """Kill the process as `kill -9` does. Raises ServerEnded when it had ended before."""
        assert self._process is not None
        self._process.kill()
        self._end(-signal.SIGKILL)
        self.kills += 1

    def restart(self) -> None:
        """Kill the process and start another one, and return when that has answered."""
        self.kill()
        self.start()
        self.wait_until_ready()

    def stop(self) -> None:
        """Have the server save and end. Raises ServerEnded when its status is not 0."""
        assert self._process is not None
        self._process.terminate()
        self._end(0)

    def _end(self, expected: int | None) -> None:
        """Wait for the end of the process. Raises ServerEnded when its status is unexpected."""
        process, self._process = self._process, None
        assert process is not None
        process.join()
        status = process.exitcode
        process.close()
        if status != expected:
            raise ServerEnded(f"the server ended with status {status}: {self._last_words()}")

    def _last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-LOG_SHOWN:].strip() or "it said nothing"


class ReadOnlyServer(Server):
    """A read-only server, ``name`` (str), of the database that another one writes."""

    def __init__(self, writer: Server, name: str) -> None:
        super().__init__(writer.filename.parent, "-ro")
        self.log = writer.log.with_name(f"{name}.log")
        self.read_uri = writer.read_uri
        self._arguments = ("-ro", *writer._arguments[-6:])

    @property
    def asked_uri(self) -> str:
        return self.read_uri


def _serve(program: Callable[[Sequence[str]], int], log: str, arguments: Sequence[str]) -> None:
    """What the process does."""
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    sys.exit(program(arguments))


def _end_with_the_test() -> None:
    """End this process when the one that started it has ended, even if that was killed itself."""
    test = multiprocessing.parent_process()
    if test is not None:
        test.join()
        os.kill(os.getpid(), signal.SIGKILL)


def free_uris(number: int) -> list[str]:
    """Return addresses of this machine that nobody else listens on, nor will.

    All of 127.0.0.0/8 is this machine: a host drawn from it stays ours while a server restarts.
    """
    # Hypothesis gives `random` the same seed in every process that runs tests.
    chance = random.SystemRandom()
    host = ".".join(["127", *(str(chance.randint(1, 254)) for _ in range(3))])
    return [f"tcp://{host}:{port}" for port in chance.sample(PORTS, number)]

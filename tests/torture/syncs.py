"""Have the first, second, third... fdatasync of a server fail.

What was not synced before is gone then. The server must end with status 3 and a message, having
acknowledged nothing that the sync was for, and the next one must know all that was acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
from typing import Any

import zmq

from pyzdb.cli import DISK_FAILED, Arguments, run
from pyzdb.client import client
from pyzdb.protocol.requests import Write, encode_request
from pyzdb.storage.disk import Disk
from tests.torture.faulty import FaultyServer
from tests.torture.processes import Server, ServerEnded
from tests.torture.report import Count, Options, Run

WRITERS = 4
"""Clients whose writes one sync may acknowledge together."""

ROUNDS_MORE = 3
"""Writes of each client after those in which the sync must have failed."""


class FailingDisk(Disk):
    """A disk on which the ``fatal``-th fdatasync fails: what was not synced before is gone."""

    def __init__(self, fatal: int) -> None:
        self._left = fatal
        self._unsynced: list[tuple[int, int, int]] = []

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        super().write(fd, data, offset)
        self._unsynced.append((fd, offset, len(data)))

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._unsynced = [write for write in self._unsynced if write[0] != fd]

    def datasync(self, fd: int) -> None:
        self._left -= 1
        if self._left == 0:
            for lost, offset, size in self._unsynced:
                if lost == fd:
                    os.pwrite(fd, bytes(size), offset)
            self.fail()
        else:
            super().datasync(fd)
            self._unsynced = [write for write in self._unsynced if write[0] != fd]

    def fail(self) -> None:
        """What becomes of the sync."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class SilentDisk(FailingDisk):
    """A planted fault: nobody hears of the sync that failed."""

    def fail(self) -> None:
        pass


class Writers:
    """Clients that each set a key of their own to 1, 2, 3..., all at the same time.

    ``acknowledged`` is the last number of each, ``answers`` how many there were in all.
    """

    def __init__(self, test: Run) -> None:
        self.answers = 0
        self.acknowledged = dict.fromkeys((f"writer {n}" for n in range(WRITERS)), 0)
        self._test = test
        self._sent = 0

    def write(self, server: FaultyServer, rounds: int) -> bool:
        """Write to a server so often at most; True when it ends before."""
        with zmq.Context() as context, contextlib.ExitStack() as stack:
            sockets = {}
            for name in self.acknowledged:
                sockets[name] = socket = stack.enter_context(context.socket(zmq.REQ))
                socket.linger = 0
                socket.connect(server.write_uri)
            for _ in range(rounds):
                self._sent += 1
                for name, socket in sockets.items():
                    socket.send(self._request(name))
                if not self._hear(server, sockets):
                    return True
        return False

    def _request(self, name: str) -> bytes:
        number = self._sent
        return encode_request(
            Write((), "__setitem__", (name, number), client=name, number=number, version=2)
        )

    def _hear(self, server: FaultyServer, sockets: dict[str, zmq.Socket[bytes]]) -> bool:
        """Wait for all answers; False when the server ends before."""
        waiting = dict(sockets)
        ended = False
        while waiting and not ended:
            ended = server.has_ended()  # what it said before its end is heard still
            for name, socket in list(waiting.items()):
                if socket.poll(0 if len(waiting) < WRITERS and not ended else 10):
                    socket.recv()
                    del waiting[name]
                    self.acknowledged[name] = self._sent
                    self.answers += 1
        return not waiting

    def check(self, tree: dict[str, Any]) -> None:
        """Compare with what a server knows after a restart."""
        for name, number in self.acknowledged.items():
            found = tree.get(name, 0)
            if not number <= found <= self._sent:
                self._test.violation(
                    f"{name}: {number} was acknowledged, {self._sent} sent, and {found} is there"
                )
                self.acknowledged[name] = found


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__, prog, syncs=Count(100, 4, "servers whose first, second, third... fdatasync fails")
    )
    options.add_plant("sync-ignored")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    kind = SilentDisk if given.plant else FailingDisk
    with Run("syncs", given.seed) as test:
        writers = Writers(test)
        failed = 0
        try:
            while failed < given.syncs:
                with FaultyServer(test.folder, kind(failed + 1)) as server:
                    _fail(test, server, writers, failed + 1)
                with Server(test.folder) as restarted:
                    writers.check(_tree(restarted))
                failed += 1
                test.progress(failed, given.syncs, "failed syncs")
        except ServerEnded as error:
            test.violation(f"after {failed} failed syncs: {error}")
        return test.finish({"syncs failed": failed, "writes acknowledged": writers.answers})


def _tree(server: Server) -> Any:
    """What a server holds that is started for it."""
    server.start()
    server.wait_until_ready()
    db, connection = client(server.write_uri)
    with connection:
        return db._run()


def _fail(test: Run, server: FaultyServer, writers: Writers, fatal: int) -> None:
    """Write until a sync fails, and look at how the server ends."""
    server.log.unlink(missing_ok=True)
    server.start()
    server.wait_until_ready()
    ended = writers.write(server, fatal + ROUNDS_MORE)
    status = server.status() if ended else None
    if status != DISK_FAILED:
        test.violation(f"sync {fatal} failed, and the server's exit status is {status}")
    if os.strerror(errno.EIO) not in server.log.read_text():
        test.violation(f"sync {fatal} failed, and the server does not say so")

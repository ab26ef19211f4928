"""Let connections fall silent while clients write, and use up the descriptors of the server.

The connections of all clients pass through something that lets those which are there fall silent
at a random moment: no end and no reset, as a firewall does that forgot them; new ones work. Every
other time, more connections are made than the server has descriptors for.

Each client appends numbers to a list of its own and adds one to a total that all of them share, in
turn. Every write must be answered within the timeout, and be done once. At the end the server must
take new clients again.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pyzdb.cli import Arguments, run, serve
from pyzdb.client import client
from pyzdb.transport.addresses import split
from tests.torture.clients import Worker
from tests.torture.middle import way_to
from tests.torture.processes import READY_LIMIT, Server, ServerEnded
from tests.torture.report import Count, Options, Run
from tests.torture.wire import Wire

DESCRIPTORS = 300
"""Descriptors of the server: enough for its files, its queues and the clients of the test."""

CROWD = 2 * DESCRIPTORS
"""Connections that are made at a time to use them up."""

PATIENCE = 30.0
"""Seconds that a client waits for an answer: a silent socket is replaced long before."""

LOOK = 0.05
"""Seconds between two looks at how far the clients are."""

STAY = 1.0
"""Seconds that the crowd stays."""


def serve_with_few_descriptors(arguments: Sequence[str]) -> int:
    """Be a server whose limit of descriptors is low."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    return serve.main(arguments)


class SmallServer(Server):
    """A server with few descriptors."""

    program = staticmethod(serve_with_few_descriptors)


class Appender(Worker):
    """A client that appends and adds until both were done ``writes`` times."""

    def __init__(self, test: Run, name: str, uri: str, writes: int) -> None:
        super().__init__(test, name, uri, PATIENCE)
        self.writes = writes

    def work(self, db: Any) -> None:
        """Do all writes."""
        for number in range(self.writes):
            db[self.name].append(number)
            db["total"] += 1
            self.done += 1


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        silences=Count(40, 4, "how often all connections fall silent"),
        clients=Count(6, 4, "clients that write"),
        writes=Count(3000, 300, "writes of each client, of either kind"),
    )
    options.add_plant("lost-write", "double-write")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with (
        Run("silence", given.seed) as test,
        SmallServer(test.folder) as server,
        way_to(server.write_uri, given.plant, given.seed) as uri,
        Wire(uri) as wire,
    ):
        workers = [
            Appender(test, f"client {number}", wire.uri, given.writes)
            for number in range(given.clients)
        ]
        silences = 0
        try:
            silences = _hurt(test, server, wire, workers, given.silences)
        except ServerEnded as error:
            test.violation(f"the server ended: {error}")
        return test.finish(
            {
                "silences": silences,
                "connections": wire.connections,
                "writes": 2 * sum(worker.done for worker in workers),
            }
        )


def _hurt(test: Run, server: Server, wire: Wire, workers: Sequence[Appender], silences: int) -> int:
    """Have the clients work, and hurt them; how often all connections fell silent."""
    server.start()
    server.wait_until_ready()
    db, connection = client(server.write_uri, timeout=READY_LIMIT)
    with connection:
        db["total"] = 0
        for worker in workers:
            db[worker.name] = []
        work = sum(worker.writes for worker in workers)
        moments = sorted(test.random.sample(range(work * 9 // 10), silences))
        fallen = 0
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                done = sum(worker.done for worker in workers)
                test.progress(done, work, f"writes, {fallen} silences")
                server.check()
                if fallen < silences and done >= moments[fallen]:
                    with _crowd(server) if fallen % 2 else contextlib.nullcontext():
                        wire.fall_silent()
                    fallen += 1
                time.sleep(LOOK)
        finally:
            for worker in workers:
                worker.end()
        _compare(test, server, workers)
        server.stop()
    return fallen


@contextlib.contextmanager
def _crowd(server: Server) -> Iterator[None]:
    """More connections than the server has descriptors for, on which nothing is sent."""
    _, host, port = split(server.write_uri)
    with contextlib.ExitStack() as stack:
        for _ in range(CROWD):
            each = stack.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex((host, int(port)))
        yield
        time.sleep(STAY)


def _compare(test: Run, server: Server, workers: Sequence[Appender]) -> None:
    """Compare what is stored with what was done, as a client that comes now."""
    db, connection = client(server.write_uri, timeout=READY_LIMIT)
    with connection:
        tree = db._run()
    for worker in workers:
        if tree[worker.name] != list(range(worker.done)):
            test.violation(f"{worker.name}: {worker.done} appends gave {tree[worker.name]}")
    total = sum(worker.done for worker in workers)
    if tree["total"] != total:
        test.violation(f"{total} additions gave {tree['total']}")

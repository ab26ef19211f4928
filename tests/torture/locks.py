"""Kill and stop holders of the lock, and look when it is free and what they can still write.

A holder is a process that takes the lock and writes without a pause. At a random moment it is
killed (SIGKILL), or stopped (SIGSTOP) and continued when somebody else has, or had, the lock.
Another client waits for the lock: it must get it within the lease and a second. From then on no
write of the old holder may be accepted; a continued one must be told that it has lost the lock.

Several databases are worked on at a time, as most of the time is waiting for leases to end. Clients
reach every other one of them by its write address alone, as through a tunnel of one port.

At last holders are killed and then the server too, again and again, until most of the lease has
passed: the restarts must not lengthen it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.engine.commits import STAMP
from pyzdb.errors import LockError, LockTimeout, PyzdbError
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.parts import Record
from pyzdb.storage.store import Recovered
from tests.torture.faulty import serve_on
from tests.torture.middle import way_to
from tests.torture.processes import READY_LIMIT, Server, ServerEnded, forks
from tests.torture.report import Count, Options, Run

LEASE = 0.4
"""Seconds of a holder's lease: short, since each round waits for its end."""

GRACE = 1.0
"""Seconds after the end of a lease within which the lock must be somebody else's."""

DATABASES = 4
"""Databases that are worked on at a time."""

WORD_LIMIT = 5.0
"""Seconds within which a continued holder must hear that it has lost the lock."""

RESTART_LEASE = 2.0
"""Seconds of the lease of a holder that is dead while its server restarts: a few restarts' time."""

RESTARTS_FOR = 0.75
"""The part of that lease in which the server is killed and started again: another whole lease after
it would be noticed."""

UNREACHED = "inproc://lock"
"""A lock address that clients cannot reach."""

KILL, STOP, RESTART = "kill", "stop", "restart"
"""What becomes of a holder."""

LATE_WRITE, FULL_LEASE = "late-write", "full-lease"
"""The faults that can be planted."""

HELD = "held"
"""What a holder says when it has the lock; after that, the name of the error that ended it."""

TAKEN = "the lock was taken over"
"""What is written in between: no write of the old holder may follow it."""


def _hold(uri: str, lease: float, said: Connection) -> None:
    """What a holder does: write under the lock until it is lost, and say so; then be killed."""
    db, connection = client(uri, timeout=READY_LIMIT)
    with connection:
        try:
            while not _begin(db, lease):
                pass
            said.send(HELD)
            while True:
                db["writes"].append("more")
        except PyzdbError as error:
            said.send(type(error).__name__)
        time.sleep(READY_LIMIT)


def _begin(db: Any, lease: float) -> bool:
    """Take the lock and write; False when a busy machine was too slow for that in one lease."""
    db.lock(lease=lease)
    try:
        db["writes"].append("first")
    except LockError:
        with contextlib.suppress(LockError):
            db.unlock()
        return False
    return True


class Site(NamedTuple):
    """A database: its server, the address through which clients reach it, and `db`."""

    server: Server
    uri: str
    db: Any


class Round:
    """One holder of the lock of one database, and what becomes of it."""

    def __init__(self, test: Run, name: str, fate: str, site: Site) -> None:
        self.late = 0
        self.waited = 0.0
        self._test = test
        self._name = f"{name}, {fate}"
        self._stopped = fate == STOP
        self._server, self._db = site.server, site.db
        self._limit = self._lease = RESTART_LEASE if fate == RESTART else LEASE
        self._said, said = forks.Pipe(duplex=False)
        self._process = forks.Process(target=_hold, args=(site.uri, self._lease, said))
        self._process.start()
        said.close()

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._said.close()

    def wait_until_held(self) -> None:
        """Return when the holder has written under the lock."""
        word = self._word()
        if word != HELD:
            raise LockError(f"{self._name}: the holder got no lock: {word}")

    def strike(self) -> None:
        """Kill or stop the holder."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGSTOP if self._stopped else signal.SIGKILL)
        self._struck = time.monotonic()

    def restart(self) -> None:
        """Kill and start the server, again and again, while the lease goes on."""
        passed = 0.0
        while passed < self._lease * RESTARTS_FOR:
            self._server.restart()
            passed = time.monotonic() - self._struck
        self._limit = max(self._lease, passed)

    def take_over(self) -> None:
        """Take the lock as somebody else."""
        try:
            self._db.lock(timeout=READY_LIMIT, lease=READY_LIMIT)
        except LockTimeout:
            self._test.violation(f"{self._name}: the lock is not free after {READY_LIMIT} s")
            raise
        self.waited = time.monotonic() - self._struck
        if self.waited > self._limit + GRACE:
            self._test.violation(f"{self._name}: the lock was free after {self.waited:.2f} s only")
        self._db["writes"].append(TAKEN)

    def go_on(self) -> None:
        """Have a stopped holder go on, with the lock still taken or free again."""
        if self._test.random.random() < 0.5:
            self._go_on()
            self._db.unlock()
        else:
            self._db.unlock()
            self._go_on()
        writes = self._db["writes"]._run()
        self.late = len(writes) - writes.index(TAKEN) - 1
        if self.late:
            self._test.violation(f"{self._name}: {self.late} late writes were accepted")
        self._db["writes"] = []

    def _go_on(self) -> None:
        if self._stopped:
            assert self._process.pid is not None
            os.kill(self._process.pid, signal.SIGCONT)
            word = self._word()
            if word != LockError.__name__:
                self._test.violation(f"{self._name}: the continued holder was told {word!r}")

    def _word(self) -> str | None:
        """What the holder says next; None when it says nothing for too long."""
        if not self._said.poll(WORD_LIMIT):
            return None
        word: str = self._said.recv()
        return word


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        kills=Count(200, 10, "holders that are killed"),
        stops=Count(200, 10, "holders that are stopped and continued"),
        restarts=Count(40, 2, "holders that are killed before their server is, some times"),
    )
    options.add_plant(LATE_WRITE, FULL_LEASE)
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("locks", given.seed) as test, contextlib.ExitStack() as stack:
        fates = [KILL] * given.kills + [STOP] * given.stops
        test.random.shuffle(fates)
        done: list[Round] = []
        restarted: list[Round] = []
        try:
            sites = [
                stack.enter_context(_database(test.folder / str(number), number % 2 == 1, given))
                for number in range(DATABASES)
            ]
            while len(done) < len(fates):
                now = fates[len(done) : len(done) + DATABASES]
                done += _play(test, len(done), now, sites)
                test.progress(len(done), len(fates), "holders")
            restarted = [
                _restart(test, number, sites[number % DATABASES])
                for number in range(given.restarts)
            ]
        except (PyzdbError, ServerEnded) as error:
            test.violation(f"the test ended early: {error}")
        return test.finish(
            {
                "holders killed": given.kills,
                "stopped and continued": given.stops,
                f"s at most until the lock was free after a lease of {LEASE} s": max(
                    (one.waited for one in done), default=0.0
                ),
                "killed before restarts": given.restarts,
                f"s at most until the lock was free after a lease of {RESTART_LEASE} s": max(
                    (one.waited for one in restarted), default=0.0
                ),
                "late writes accepted": sum(one.late for one in done + restarted),
            }
        )


@contextlib.contextmanager
def _database(folder: Path, is_tunnelled: bool, given: argparse.Namespace) -> Iterator[Site]:
    """A database of its own, with a fault before it if one is planted."""
    folder.mkdir()
    fault = LATE_WRITE if given.plant == LATE_WRITE else None
    with (
        _Server(folder, is_tunnelled, given.plant == FULL_LEASE) as server,
        way_to(server.write_uri, fault, given.seed) as uri,
    ):
        server.start()
        server.wait_until_ready()
        db, connection = client(uri, timeout=READY_LIMIT)
        with connection:
            db["writes"] = []
            yield Site(server, uri, db)
        server.stop()


class _Server(Server):
    """A server whose lock address is not reached when it ``is_tunnelled``, or one that
    ``forgets`` at a restart how much of a lease was left."""

    def __init__(self, folder: Path, is_tunnelled: bool, forgets: bool) -> None:
        super().__init__(folder)
        if is_tunnelled:
            self._arguments = (*self._arguments[:-1], UNREACHED)
        if forgets:
            self.program = _serve_with_full_leases


class RedatingStore(FileStore):
    """A planted fault: what was done before a restart is taken for done just now, so that a lease
    begins again."""

    def take(self) -> Recovered:
        recovered = super().take()
        return recovered._replace(records=map(_redated, recovered.records))


def _redated(record: Record) -> Record:
    sequence, body = record
    return sequence, STAMP.pack(time.time()) + body[STAMP.size :]


def _serve_with_full_leases(arguments: Sequence[str]) -> int:
    return serve_on(Disk(), arguments, RedatingStore)


def _play(test: Run, first: int, fates: list[str], sites: list[Site]) -> list[Round]:
    """Play one round in each database, all at the same time."""
    with contextlib.ExitStack() as stack:
        rounds = [
            stack.enter_context(Round(test, f"holder {number}", fate, site))
            for number, (fate, site) in enumerate(zip(fates, sites, strict=False), first)
        ]
        for one in rounds:
            one.wait_until_held()
        for one in rounds:
            time.sleep(LEASE * test.random.random() / DATABASES)
            one.strike()
        for one in rounds:
            one.take_over()
        for one in rounds:
            one.go_on()
        return rounds


def _restart(test: Run, number: int, site: Site) -> Round:
    """Play one round in which the server restarts when the holder is dead."""
    with Round(test, f"holder {number} before restarts", RESTART, site) as one:
        one.wait_until_held()
        one.strike()
        one.restart()
        one.take_over()
        one.go_on()
        return one

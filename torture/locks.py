"""Kill and stop holders of the lock, and look when it is free and what they can still write.

A holder is a process that takes the lock and writes without a pause. At a random moment it is
killed (SIGKILL), or stopped (SIGSTOP) and continued when somebody else has, or had, the lock.
Another client waits for the lock: it must get it within the lease and a second. From then on no
write of the old holder may be accepted; a continued one must be told that it has lost the lock.

Several databases are worked on at a time, as most of the time is waiting for leases to end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.errors import LockError, LockTimeout, PyzdbError
from torture.middle import way_to
from torture.processes import READY_LIMIT, Server, ServerEnded, forks
from torture.report import Count, Options, Run

LEASE = 0.4
"""Seconds of a holder's lease: short, since each round waits for its end."""

GRACE = 1.0
"""Seconds after the end of a lease within which the lock must be somebody else's."""

DATABASES = 4
"""Databases that are worked on at a time."""

WORD_LIMIT = 5.0
"""Seconds within which a continued holder must hear that it has lost the lock."""

KILL, STOP = "kill", "stop"
"""What becomes of a holder."""

HELD = "held"
"""What a holder says when it has the lock; after that, the name of the error that ended it."""

TAKEN = "the lock was taken over"
"""What is written in between: no write of the old holder may follow it."""


def _hold(uri: str, said: Connection) -> None:
    """What a holder does: write under the lock until it is lost, and say so; then be killed."""
    db, connection = client(uri, timeout=READY_LIMIT)
    with connection:
        try:
            while not _begin(db):
                pass
            said.send(HELD)
            while True:
                db["writes"].append("more")
        except PyzdbError as error:
            said.send(type(error).__name__)
        time.sleep(READY_LIMIT)


def _begin(db: Any) -> bool:
    """Take the lock and write; False when a busy machine was too slow for that in one lease."""
    db.lock(lease=LEASE)
    try:
        db["writes"].append("first")
    except LockError:
        with contextlib.suppress(LockError):
            db.unlock()
        return False
    return True


class Round:
    """One holder of the lock of one database, and what becomes of it."""

    def __init__(self, test: Run, name: str, fate: str, uri: str, db: Any) -> None:
        self.late = 0
        self.waited = 0.0
        self._test = test
        self._name = f"{name}, {fate}"
        self._stopped = fate == STOP
        self._db = db
        self._said, said = forks.Pipe(duplex=False)
        self._process = forks.Process(target=_hold, args=(uri, said))
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

    def take_over(self) -> None:
        """Take the lock as somebody else."""
        try:
            self._db.lock(timeout=READY_LIMIT, lease=READY_LIMIT)
        except LockTimeout:
            self._test.violation(f"{self._name}: the lock is not free after {READY_LIMIT} s")
            raise
        self.waited = time.monotonic() - self._struck
        if self.waited > LEASE + GRACE:
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
    )
    options.add_plant("late-write")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("locks", given.seed) as test, contextlib.ExitStack() as stack:
        fates = [KILL] * given.kills + [STOP] * given.stops
        test.random.shuffle(fates)
        done: list[Round] = []
        try:
            places = [
                stack.enter_context(_database(test.folder / str(number), given))
                for number in range(DATABASES)
            ]
            while len(done) < len(fates):
                now = fates[len(done) : len(done) + DATABASES]
                done += _play(test, len(done), now, places)
                test.progress(len(done), len(fates), "holders")
        except (PyzdbError, ServerEnded) as error:
            test.violation(f"the test ended early: {error}")
        return test.finish(
            {
                "holders killed": given.kills,
                "stopped and continued": given.stops,
                f"s at most until the lock was free after a lease of {LEASE} s": max(
                    (one.waited for one in done), default=0.0
                ),
                "late writes accepted": sum(one.late for one in done),
            }
        )


@contextlib.contextmanager
def _database(folder: Path, given: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The address of a database of its own, with a fault before it if one is planted, and `db`."""
    folder.mkdir()
    with Server(folder) as server, way_to(server.write_uri, given.plant, given.seed) as uri:
        server.start()
        server.wait_until_ready()
        db, connection = client(uri, timeout=READY_LIMIT)
        with connection:
            db["writes"] = []
            yield uri, db
        server.stop()


def _play(test: Run, first: int, fates: list[str], places: list[tuple[str, Any]]) -> list[Round]:
    """Play one round in each database, all at the same time."""
    with contextlib.ExitStack() as stack:
        rounds = [
            stack.enter_context(Round(test, f"holder {number}", fate, uri, db))
            for number, (fate, (uri, db)) in enumerate(zip(fates, places, strict=False), first)
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

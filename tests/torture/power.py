"""Take the power away at every step of a database, and look at what the disk may hold then.

A database works on a disk in memory, which knows what is synced. After each step, a write, a sync,
a rename, the power is lost: several disks are made as it may have left them, with what was not
synced dropped, reordered, torn at 512 bytes or filled with zeros. Each is opened as after a
restart, sometimes losing the power again meanwhile, and must be the database as it was after one of
its records: with `always` nothing that was acknowledged may be missing, with `everysec` nothing
that was acknowledged a second before. It must also take a further write and be there again.

A read-only server looks at the disk before each of these losses. With `always` every disk must have
what that has shown by then.

The requests are of every kind, with saves and restarts between them, and now and then the database
goes on from what a loss left of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from pyzdb.cli import Arguments, run
from pyzdb.engine.database import Database
from pyzdb.engine.replica import Replica
from pyzdb.errors import PyzdbError
from pyzdb.protocol.requests import Write, encode_request
from pyzdb.server.follower import Follower
from pyzdb.server.loop import IDLE
from pyzdb.storage.disk import Disk
from pyzdb.storage.journal import SYNC_INTERVAL, Fsync
from pyzdb.storage.published import published
from pyzdb.storage.reader import Durable
from tests.torture.ledger import lost_file, new_ledger
from tests.torture.memory import FILENAME, INCOMING, MemoryDisk, database_on
from tests.torture.report import Count, Options, Run
from tests.torture.workload import MOST_STEPS, Workload

IMAGES_A_STEP = 3
"""Disks that are made after a step that left something unsynced."""

SYNCED = 0.1
"""The share of the other steps after which a disk is made: there is only one that it can be."""

AGAIN = 0.3
"""The share of recoveries in which the power is lost again, once."""

LATEST = 10
"""Steps of a recovery within which the power is lost again: a recovery takes about as many."""

STEP_TIME = 0.02
"""Seconds that a step takes at most, on the clock of the test."""

PROMISED = 1.0
"""Seconds of acknowledged writes that `everysec` may lose."""

ROUNDS = 60
"""Rounds of requests in the life of one database."""

SNAPSHOT_BYTES = 10_000
"""Bytes of journal from which on the database saves by itself."""


class Clock:
    """The time, as the test has it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class LyingDisk(MemoryDisk):
    """A planted fault: a sync that does nothing."""

    def sync(self, fd: int) -> None:
        self.after_step()


class ForgetfulDisk(MemoryDisk):
    """A planted fault: a sync of a folder that does nothing."""

    def sync_folder(self, path: str) -> None:
        self.after_step()


FAULTS = {
    "no-sync": LyingDisk,
    "no-folder-sync": ForgetfulDisk,
}
"""The disks with a planted fault."""

LATE_SYNC = "late-sync"
"""A planted fault: with `everysec`, a sync comes some seconds too late."""

HASTY = "hasty-reader"
"""A planted fault: the read-only server shows whatever it can read."""

TOO_LATE = 5.0
"""How many seconds after the write."""


def _all_of_it(disk: Disk, filename: str) -> None:
    """What says up to which record a database is durable, for a reader that does not ask."""


class Life:
    """The life of one database, and all that could have come of it. ``durable`` tells the
    read-only server what it may show, ``sync_interval`` is that of the store."""

    def __init__(
        self,
        test: Run,
        fsync: Fsync,
        disk: MemoryDisk,
        images: int,
        durable: Durable = published,
        sync_interval: float = SYNC_INTERVAL,
    ) -> None:
        self.images = 0
        self.looks = 0
        self._durable = durable
        self._sync_interval = sync_interval
        self._most = images
        self._test = test
        self._fsync: Fsync = fsync
        self._disk = disk
        self._clock = Clock()
        self._ledger = new_ledger(MOST_STEPS)
        self._told: list[tuple[float, int]] = []

    def live(self) -> None:
        """Do everything, until enough disks were looked at."""
        random = self._test.random
        incoming = str(self._test.folder / INCOMING)
        workload = Workload(random, self._database(self._disk), self._disk, incoming)
        self._start(workload, self._disk)
        for _ in range(ROUNDS):
            if self.images >= self._most:
                break
            self._round(workload)
        workload.database.close()

    def _database(self, disk: MemoryDisk) -> Database:
        return database_on(
            disk,
            self._test.folder,
            self._fsync,
            self._clock,
            snapshot_bytes=SNAPSHOT_BYTES,
            sync_interval=self._sync_interval,
        )

    def _round(self, workload: Workload) -> None:
        """What a server does in one round."""
        random, database = self._test.random, workload.database
        if database.save_fd is not None and random.random() < 0.5:
            database.finish_save()
        for _ in range(random.choice((0, 1, 1, 1, 2, 5))):
            workload.step()
            self._ledger.note(database)
        database.flush()
        self._acknowledge(database)
        due = database.tick()
        self._clock.now += random.random() * (IDLE if due is None else min(due, IDLE))
        drawn = random.random()
        if drawn < 0.05:
            database.save()
        elif drawn < 0.08:
            database.close()
            self._start(workload, self._disk)
        elif drawn < 0.11:
            self._start(workload, self._disk.after_loss(random))

    def _start(self, workload: Workload, disk: MemoryDisk) -> None:
        self._disk = workload.disk = disk
        self._replica = Replica()
        filename = str(self._test.folder / FILENAME)
        self._reader = Follower(self._replica, filename, disk, durable=self._durable)
        disk.after_step = self._lose
        workload.database = self._database(disk)
        workload.database.open()
        self._ledger.rewind(workload.database)
        sequence = workload.database.sequence
        self._told = [(when, last) for when, last in self._told if last <= sequence]
        self._ledger.note(workload.database, started=True)
        self._acknowledge(workload.database)

    def _acknowledge(self, database: Database) -> None:
        self._ledger.acknowledged = database.sequence
        self._told.append((self._clock.now, database.sequence))

    def _lose(self) -> None:
        """Lose the power, several times at the same moment."""
        random = self._test.random
        self._reader.look()
        self.looks += 1
        self._clock.now += random.random() * STEP_TIME
        images = (random.random() < SYNCED) if self._disk.is_synced else IMAGES_A_STEP
        for _ in range(images):
            self._recover(self._disk.after_loss(random), random.random() < AGAIN)

    def _recover(self, disk: MemoryDisk, again: bool) -> None:
        """Start from what the power loss left."""
        self.images += 1
        if again:
            steps = iter(range(self._test.random.randrange(LATEST)))
            disk.after_step = partial(self._lose_again, disk, steps)
        left = disk.copy()
        database = self._database(disk)
        try:
            database.open()
        except PyzdbError as error:
            self._violation(f"the start was refused: {error}", left)
            return
        disk.after_step = _nothing
        fault = self._ledger.fault(database, self._least())
        lost = lost_file(disk, database)
        if fault is None and lost is not None:
            fault = f"the large file {lost} is gone"
        if fault is not None:
            self._violation(fault, left)
        elif self._test.random.random() < 0.1:
            self._go_on(database, disk, left)
        else:
            database.close()

    def _lose_again(self, disk: MemoryDisk, steps: Iterator[int]) -> None:
        """Lose the power when the last of the steps is done."""
        if next(steps, None) is None:
            disk.after_step = _nothing
            self._recover(disk.after_loss(self._test.random), again=False)

    def _least(self) -> int:
        """The last record that must be there."""
        if self._fsync == "always":
            return max(self._ledger.acknowledged, self._replica.sequence)
        return max(
            (last for when, last in self._told if when <= self._clock.now - PROMISED), default=0
        )

    def _go_on(self, database: Database, disk: MemoryDisk, left: MemoryDisk) -> None:
        """See that a recovered database takes a write."""
        request = Write((), "__setitem__", ("after", 1), client="after", number=1, version=2)
        if database.lock.held is not None:
            request.token = database.lock.held.token
        answer = database.handle(encode_request(request))
        state: Any = repr(database.state())
        database.close()
        opened = self._database(disk)
        opened.open()
        if opened.tree.root.get("after") != 1 or repr(opened.state()) != state:
            self._violation(f"a write after the recovery is gone: {answer!r}", left)
        opened.close()

    def _violation(self, text: str, left: MemoryDisk) -> None:
        number = len(self._test.violations) + 1
        left.keep_in(self._test.folder / f"disk {number}")
        self._test.violation(f"--fsync {self._fsync}, disk {number}: {text}")


def _nothing() -> None:
    """What happens after a step of a disk that is only looked at."""


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__, prog, images=Count(20_000, 1_000, "disks that are looked at after a power loss")
    )
    options.add_plant(*FAULTS, LATE_SYNC, HASTY)
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    interval = TOO_LATE if given.plant == LATE_SYNC else SYNC_INTERVAL
    with Run("power", given.seed) as test:
        images = {"always": 0, "everysec": 0}
        lives = looks = 0
        durable = _all_of_it if given.plant == HASTY else published
        while (done := sum(images.values())) < given.images:
            test.progress(done, given.images, "disks")
            fsync: Fsync = "everysec" if lives % 2 else "always"
            disk = FAULTS.get(given.plant, MemoryDisk)()
            life = Life(test, fsync, disk, given.images - done, durable, interval)
            life.live()
            looks += life.looks
            images[fsync] += life.images
            lives += 1
        return test.finish(
            {
                "databases": lives,
                "looks of a read-only server": looks,
                "disks with always": images["always"],
                "disks with everysec": images["everysec"],
            }
        )

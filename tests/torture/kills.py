"""Kill the server again and again while clients write, and look for what it acknowledged.

Each client appends the numbers 0, 1, 2... to lists of its own, every other one in a batch that also
counts it. The server is killed (SIGKILL) at a random moment: of its start, one time in three, and
otherwise of its service. It saves by itself all the time, so that saves are hit as well. Half of
the clients give up soon, and so do not know what became of some of their writes.

Whenever a list is full, and at the end, everything is read back: what was acknowledged is there
once, what is unknown is there once or not at all, all in the order in which it was written, and a
batch is there as a whole or not at all. Nobody helps the server: that it ends by itself, or does
not answer after a start, is a violation too.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from typing import Any

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.errors import OutcomeUnknown, ServerTimeout
from tests.torture.clients import Worker, patiently, resending_after
from tests.torture.middle import way_to
from tests.torture.processes import READY_LIMIT, Server, ServerEnded
from tests.torture.report import Count, Options, Run

LONGEST_LIFE = 0.2
"""Seconds between the first answer of a server and its end, at most: many of the moments that are
hit should lie in the first requests, and the others under a full load."""

KILLED_IN_START = 1 / 3
"""The share of servers that are killed before they answer."""

RESEND = 0.04
"""Seconds of silence after which a client sends again: it should write in every life."""

SOON = 0.03
"""Seconds after which an impatient client gives up: less than a restart takes."""

SNAPSHOT_BYTES = 20_000
"""Bytes of journal from which on the server saves: a save is under way in many of the kills."""

PAGE = 500
"""Numbers in one list: short enough to be read back often."""


class Writer(Worker):
    """A client that writes numbers until ``ending`` is set, and knows which are acknowledged."""

    def __init__(self, test: Run, name: str, uri: str, timeout: float) -> None:
        super().__init__(test, name, uri, timeout, resending_after(RESEND))
        self.unknown: set[int] = set()
        self.lost: set[int] = set()
        self.doubled: set[int] = set()
        self.ending = threading.Event()

    @property
    def acknowledged(self) -> int:
        """How many writes the server has acknowledged."""
        return self.done - len(self.unknown)

    def work(self, db: Any) -> None:
        """Write, and read back each list that is full."""
        while not self.ending.is_set():
            self._write(db)
            if self.done % PAGE == 0:
                self.check(db, self.done // PAGE - 1)

    def _write(self, db: Any) -> None:
        number = self.done
        page = self._page(number // PAGE)
        if number % PAGE == 0:
            patiently(lambda: db.setdefault(page, []))
        try:
            if number % 2:
                with db.batch() as batch:
                    batch[page].append(number)
                    batch["odd"][self.name] += 1
            else:
                db[page].append(number)
        except (ServerTimeout, OutcomeUnknown):
            self.unknown.add(number)
        self.done += 1

    def check_all(self, db: Any) -> None:
        """Read everything back; for when the client has ended and nothing is on its way."""
        pages = (self.done + PAGE - 1) // PAGE
        odd = sum(number % 2 for page in range(pages) for number in self.check(db, page))
        counted = db["odd"][self.name]._run()
        if counted != odd:
            self._test.violation(
                f"{self.name}: a batch was torn: {odd} numbers of batches, but {counted} counted"
            )

    def check(self, db: Any, page: int) -> list[int]:
        """Read one list back and return it."""
        found: list[int] = patiently(db[self._page(page)]._run)
        due = range(page * PAGE, min((page + 1) * PAGE, self.done))
        lost = set(due) - set(found) - self.unknown - self.lost
        doubled = {number for number, times in Counter(found).items() if times > 1} - self.doubled
        self.lost |= lost
        self.doubled |= doubled
        if lost:
            self._test.violation(f"{self.name}: acknowledged and lost: {sorted(lost)}")
        if doubled:
            self._test.violation(f"{self.name}: done more than once: {sorted(doubled)}")
        if not doubled and (found != sorted(found) or not set(found) <= set(due)):
            self._test.violation(f"{self.name}: list {page} was not written so: {found}")
        return found

    def _page(self, page: int) -> str:
        return f"{self.name}, list {page}"


class Killer:
    """Starts the server and kills it, and counts how often, and how often it had answered."""

    def __init__(self, test: Run, server: Server) -> None:
        self.kills = 0
        self.answered = 0
        self._test = test
        self._server = server
        self._start = 0.0

    def kill_once(self) -> None:
        """Let a server live and die. Raises ServerEnded when it died by itself."""
        random = self._test.random
        self._server.start()
        if self._start and random.random() < KILLED_IN_START:
            time.sleep(random.uniform(0, self._start))
        else:
            self._start = self._server.wait_until_ready()
            self.answered += 1
            time.sleep(random.uniform(0, LONGEST_LIFE))
        self._server.kill()
        self.kills += 1


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        kills=Count(2000, 200, "how often the server is killed"),
        clients=Count(4, 4, "clients that write"),
    )
    options.add_plant("lost-write", "double-write")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with (
        Run("kills", given.seed) as test,
        Server(test.folder, "--snapshot-bytes", str(SNAPSHOT_BYTES)) as server,
        way_to(server.write_uri, given.plant, given.seed) as uri,
    ):
        killer = Killer(test, server)
        writers = [
            Writer(test, f"client {number}", uri, SOON if number % 2 else READY_LIMIT)
            for number in range(given.clients)
        ]
        try:
            _hurt(test, server, killer, given.kills, writers)
        except ServerEnded as error:
            test.violation(f"the server needs somebody after kill {killer.kills}: {error}")
        return test.finish(
            {
                "kills": killer.kills,
                "of them in service": killer.answered,
                "writes acknowledged": sum(writer.acknowledged for writer in writers),
                "of unknown outcome": sum(len(writer.unknown) for writer in writers),
                "lost": sum(len(writer.lost) for writer in writers),
                "doubled": sum(len(writer.doubled) for writer in writers),
            }
        )


def _hurt(test: Run, server: Server, killer: Killer, kills: int, writers: list[Writer]) -> None:
    db, connection = client(server.write_uri, timeout=READY_LIMIT)
    with connection:
        server.start()
        db["odd"] = {writer.name: 0 for writer in writers}
        server.kill()
        try:
            for writer in writers:
                writer.start()
            while killer.kills < kills:
                killer.kill_once()
                written = sum(writer.acknowledged for writer in writers)
                test.progress(killer.kills, kills, f"kills, {written:,} writes acknowledged")
            server.start()
            for writer in writers:
                writer.ending.set()
                writer.join()
        finally:
            for writer in writers:
                writer.end()
        # Nothing that a client sent before it gave up reaches this next server.
        server.restart()
        for writer in writers:
            writer.check_all(db)
        server.stop()

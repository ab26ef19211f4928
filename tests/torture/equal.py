"""Compare a live database with what a restart would make of its files, after every step.

Runs of steps are drawn by hypothesis: requests of every kind, some of them repeated or meant to
fail, saves in this process and beside it, restarts with another limit of the history, kills, and
locks whose lease ends. After each step three databases must be the same, history and answers
included: the live one, the one that all records since the first lead to, and the one that the
snapshot and the records after it lead to. When they are not, the full form looks for a shorter run
that shows it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pyzdb.cli import Arguments, run
from pyzdb.engine.database import Database
from pyzdb.engine.replica import Replica
from pyzdb.protocol.leases import MAX_LEASE
from pyzdb.protocol.requests import Write, encode_request
from pyzdb.storage.contents import read_contents
from pyzdb.storage.file_folder import FileFolder
from tests.torture.ledger import Ledger, recovered
from tests.torture.memory import FILENAME, INCOMING, MemoryDisk, database_on
from tests.torture.report import Count, Options, Run
from tests.torture.workload import KINDS, MOST_STEPS, Workload

SEEDS = st.integers(0, (1 << 32) - 1)
"""What the details of a request are drawn from."""


HISTORY_BYTES = 150_000
"""About the bytes of history that the databases keep: a few large values, but many small ones."""


class SkippingReplica(Replica):
    """A planted fault: what was undone is not undone when the journal is read."""

    def replay(self, sequence: int, body: bytes) -> None:
        if b'"undo"' not in body:
            super().replay(sequence, body)


ASKED = sorted((*KINDS, *["exec"] * 4))
"""The kinds of requests, with more source than elsewhere: it takes its own ways to the tree."""

Kind = Callable[[FileFolder], Replica]

FAULTS: dict[str | None, Kind] = {
    None: partial(Replica, history_bytes=HISTORY_BYTES),
    "skip-undo": partial(SkippingReplica, history_bytes=HISTORY_BYTES),
    "more-history": Replica,
}
"""What reads all records again; one of those that were planted forgets later."""


class Machine(RuleBasedStateMachine):
    """One run: a database on a disk in memory; ``replayer`` reads its records again."""

    folder: ClassVar[Path]
    replayer: ClassVar[Kind]
    test: ClassVar[Run]
    total: ClassVar[int]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self._now = 1_000_000.0
        self._records: dict[int, bytes] = {}
        self._ledger = Ledger()
        self._disk = MemoryDisk()
        self._database = self._opened(MOST_STEPS)
        incoming = str(self.folder / INCOMING)
        self._workload = Workload(Random(0), self._database, self._disk, incoming, large=True)

    def _opened(self, history_limit: int) -> Database:
        database = database_on(
            self._disk,
            self.folder,
            clock=lambda: self._now,
            history_limit=history_limit,
            kind=partial(Database, history_bytes=HISTORY_BYTES),
        )
        database.open()
        return database

    def _start(self, history_limit: int) -> None:
        self._workload.database = self._database = self._opened(history_limit)
        self._ledger.note(self._database, started=True)

    @initialize(plain=st.booleans())
    def begin(self, plain: bool) -> None:
        """Plain JSON takes other ways through the program than what carries tags."""
        self._workload.plain = plain

    @rule(drawn=st.lists(st.tuples(st.sampled_from(ASKED), SEEDS), min_size=1, max_size=5))
    def requests(self, drawn: list[tuple[str, int]]) -> None:
        """Some clients ask for something, one after the other."""
        for kind, number in drawn:
            self._now += 1
            self._workload.random.seed(number)
            self._workload.do(kind)
            self.same()

    @precondition(lambda self: self._database.save_fd is None)
    @rule()
    def begin_save(self) -> None:
        """A client asks for a save."""
        self._database.handle(encode_request(Write((), "save", version=2)))

    @precondition(lambda self: self._database.save_fd is not None)
    @rule()
    def finish_save(self) -> None:
        """The save that runs beside the service has ended."""
        self._database.finish_save()

    @rule()
    def save(self) -> None:
        """The server saves, as at its end."""
        self._database.save()

    @rule(history_limit=st.sampled_from((MOST_STEPS, 3)))
    def restart(self, history_limit: int) -> None:
        """The server is ended and started."""
        self._database.close()
        self._start(history_limit)

    @rule()
    def kill(self) -> None:
        """The server is killed and started."""
        self._database.flush()
        self._disk = self._workload.disk = self._disk.copy()
        self._start(self._database.history.limit)

    @precondition(lambda self: self._database.lock.held is not None)
    @rule()
    def end_lease(self) -> None:
        """Nobody uses the lock for as long as its lease is."""
        self._now += MAX_LEASE + 1
        self._database.tick()

    @invariant()
    def same(self) -> None:
        """Compare the three."""
        live = self._database
        live.flush()
        self._ledger.note(live)
        filename = str(self.folder / FILENAME)
        self._records.update(read_contents(self._disk, filename).records())
        folder = FileFolder(self._disk, filename)
        replayed = Machine.replayer(folder)
        for sequence in range(1, live.sequence + 1):
            replayed.replay(sequence, self._records[sequence])
        both = {
            "all records": replayed,
            "the files": recovered(self._disk, filename, FAULTS[None]),
        }
        for name, database in {"a request without effect": live, **both}.items():
            fault = self._ledger.fault(database, live.sequence)
            assert fault is None, f"{name}: {fault}"
        Machine.steps += 1
        self.test.progress(Machine.steps, self.total, "steps")


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        runs=Count(500, 20, "runs, each of a new database"),
        steps=Count(100, 50, "steps of a run at most"),
    )
    options.add_plant(*filter(None, FAULTS))
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("equal", given.seed) as test:
        Machine.folder, Machine.test = test.folder, test
        Machine.replayer = FAULTS[given.plant]
        Machine.steps, Machine.total = 0, given.runs * given.steps
        machine: Any = seed(given.seed)(Machine)
        how = settings(
            max_examples=given.runs,
            stateful_step_count=given.steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,) if given.short else (Phase.generate, Phase.shrink),
            print_blob=False,
            # Iterating leaves out the deprecated ones; pyright takes what it gives for their class.
            suppress_health_check=[*HealthCheck],  # pyright: ignore[reportArgumentType]
        )
        try:
            run_state_machine_as_test(machine, settings=how)
        except Exception as error:
            test.violation("\n".join([repr(error), *getattr(error, "__notes__", ())]))
        return test.finish({"runs": given.runs, "comparisons": Machine.steps})

"""Cut the journal short, as a write that was interrupted leaves it, and start the database.

The journal is cut at every byte of its last records and at random places after its header (a part
gets its name when its header is on the disk), once to a shorter file and once to zeros, which is
the room that was made for more records. What must be there is exactly the records that lie before
the cut as a whole, and what was cut off must be kept aside.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pyzdb.cli import Arguments, run
from pyzdb.errors import PyzdbError
from pyzdb.storage.parts import HEADER_SIZE, read_part
from tests.torture.report import Count, Options, Run
from tests.torture.victim import KINDS, NO_CHECKSUM, Victim

RECORDS = 40
"""Records in each file of the databases that are cut."""


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        last=Count(3, 1, "records at the end that are cut at every byte"),
        places=Count(2_000, 100, "random places to cut at"),
    )
    options.add_plant(NO_CHECKSUM)
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("cuts", given.seed) as test:
        cuts = 0
        for kind in KINDS:
            cut = _Cut(test, Victim(test.random, test.folder, kind, RECORDS, given.plant), kind)
            places = [*cut.last_records(given.last), *cut.random(given.places // len(KINDS) + 1)]
            for done, place in enumerate(places):
                cut.at(place, zeros=False)
                cut.at(place, zeros=True)
                test.progress(done, len(places), f"places in {kind}")
            cuts += 2 * len(places)
        return test.finish({"cuts": cuts})


class _Cut:
    """Cuts the last part of a database's journal."""

    def __init__(self, test: Run, victim: Victim, kind: str) -> None:
        self._test = test
        self._victim = victim
        self._kind = kind
        self._path = victim.parts[-1]
        self._part = read_part(victim.content(self._path), self._path)

    def last_records(self, number: int) -> Iterator[int]:
        """Every place in the last records."""
        yield from range(self._part.end_of(self._part.sequence - number), self._part.end + 1)

    def random(self, number: int) -> Iterator[int]:
        """Places anywhere in the records."""
        for _ in range(number):
            yield self._test.random.randint(HEADER_SIZE, self._part.end)

    def at(self, place: int, zeros: bool) -> None:
        """Cut there, and see what a start makes of it."""
        content = self._part.data[:place]
        ends = [HEADER_SIZE, *(end for _, _, end in self._part.records if end <= place)]
        due = self._part.first + len(ends) - 2
        tail = content[ends[-1] :].rstrip(b"\0")
        if zeros:
            content += bytes(len(self._part.data) - place)
        disk = self._victim.damaged(self._path, content)
        database = self._victim.database(disk)
        where = f"{self._kind}, cut at {place}{' to zeros' if zeros else ''}"
        try:
            database.open()
        except PyzdbError as error:
            self._test.violation(f"{where}: the start was refused: {error}")
            return
        aside = f"{self._path}.broken"
        fault = self._victim.ledger.fault(database, due)
        if database.sequence != due:
            fault = f"the last record is {database.sequence}, not {due}"
        elif tail and (not disk.exists(aside) or disk.content(aside) != tail):
            fault = "what was cut off is not kept"
        if fault is not None:
            self._test.violation(f"{where}: {fault}")
        database.close()

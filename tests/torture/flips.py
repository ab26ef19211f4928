"""Flip single bits in the files of a database, and start it.

A bit may flip anywhere in a snapshot and a journal: in a header, a record, or the room behind the
records. The start must either be refused, with the file that was damaged and the offset in the
message, or the database must be what it was, with nothing lost.
"""

from __future__ import annotations

import argparse

from pyzdb.cli import Arguments, run
from pyzdb.errors import CorruptFile
from pyzdb.storage.parts import HEADER_SIZE
from tests.torture.report import Count, Options, Run
from tests.torture.victim import KINDS, NO_CHECKSUM, Victim

RECORDS = 30
"""Records in each file of the databases that are damaged."""

FLIPS_EACH = 100
"""Flips before the next database is made."""

IN_HEADER = 0.1
IN_ROOM = 0.1
"""The shares of flips in the first bytes of a file and in the room after a journal's records."""


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(__doc__, prog, flips=Count(10_000, 500, "bits that are flipped, one by one"))
    options.add_plant(NO_CHECKSUM)
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("flips", given.seed) as test:
        refused = harmless = 0
        while (done := refused + harmless + len(test.violations)) < given.flips:
            kind = KINDS[done // FLIPS_EACH % len(KINDS)]
            victim = Victim(test.random, test.folder, kind, RECORDS, given.plant)
            paths = [*victim.parts, *[victim.filename] * (kind == KINDS[1])]
            for _ in range(min(FLIPS_EACH, given.flips - done)):
                outcome = _flip(test, victim, test.random.choice(paths))
                refused += outcome == "refused"
                harmless += outcome == "harmless"
            test.progress(done, given.flips, "flips")
        return test.finish({"flips refused": refused, "flips without harm": harmless})


def _flip(test: Run, victim: Victim, path: str) -> str | None:
    """Flip a bit of a file: what came of it, or None for a violation."""
    content = bytearray(victim.content(path))
    place, bit = _place(test, content), test.random.randrange(8)
    content[place] ^= 1 << bit
    where = f"bit {bit} at offset {place} of {path}"
    database = victim.database(victim.damaged(path, bytes(content)))
    try:
        database.open()
    except CorruptFile as error:
        if error.filename == path and path in str(error) and str(error.offset) in str(error):
            return "refused"
        test.violation(f"{where}: the message does not say where: {error}")
        return None
    except Exception as error:  # anything else that a start raises
        test.violation(f"{where}: {type(error).__name__}: {error}")
        return None
    fault = victim.ledger.fault(database)
    database.close()
    if fault is not None:
        test.violation(f"{where}: {fault}")
        return None
    return "harmless"


def _place(test: Run, content: bytearray) -> int:
    random = test.random
    written = len(content.rstrip(b"\0"))
    drawn = random.random()
    if drawn < IN_HEADER:
        return random.randrange(HEADER_SIZE)
    if drawn < IN_HEADER + IN_ROOM and written < len(content):
        return random.randrange(written, len(content))
    return random.randrange(written)

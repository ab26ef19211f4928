"""Start with a large tree, replay of a journal, import: each time in a new Python process.

The process takes the time itself, so that the start of Python does not count. The files were read
or written a moment ago, so they come from memory and not from the disk. Garbage collection is off
for all, as it is in pyzdb's server.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.measuring import MILLISECOND, MILLISECONDS, Benchmark, Goal, Measure, Setup
from benchmarks.processes import fresh_python
from benchmarks.tree import document
from pyzdb.engine.commits import STAMP
from pyzdb.engine.database import Database
from pyzdb.protocol.requests import Write, decode_request, encode_request
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore

KEYS = 1_000
"""Keys that the records of the journal set in turn."""

CLIENT = "user@host:12345-0123456789abcdef"

LONGEST_REPLAY = 2_000.0
"""Milliseconds that the replay of the journal may take."""


def benchmarks(setup: Setup) -> list[Benchmark]:
    """Return the benchmarks of this module."""
    records, journal = setup.sizes.records, setup.sizes.journal
    return [
        Benchmark(
            "start",
            f"open a saved document of {records:,} records",
            MILLISECONDS,
            {
                "pyzdb": partial(timed, setup, make_saved, open_database, records),
                "pickle.loads": partial(timed, setup, make_pickle, load_pickle, records),
            },
            (Goal("pyzdb", ("pickle.loads",), 1.3),),
        ),
        Benchmark(
            "replay",
            f"replay {journal:,} records of the journal",
            MILLISECONDS,
            {
                "pyzdb": partial(timed, setup, make_journal, open_database, journal),
                "read and parse alone": partial(timed, setup, make_journal, parse, journal),
            },
            (Goal("pyzdb", ("read and parse alone",), 4.0), Goal("pyzdb", plus=LONGEST_REPLAY)),
        ),
        Benchmark(
            "import",
            "import the client",
            MILLISECONDS,
            {
                "import pyzdb.client": partial(imported, "pyzdb.client"),
                "import zmq": partial(imported, "zmq"),
            },
            (Goal("import pyzdb.client", ("import zmq",), plus=60.0),),
        ),
    ]


@contextmanager
def timed(
    setup: Setup, make: Callable[[Path, int], None], use: Callable[[Path], float], count: int
) -> Iterator[Measure]:
    """Let one process ``make`` a file with ``count`` records, and measure what others, one a
    round, take to ``use`` it."""
    path = setup.new_folder() / "db.pkl"
    begin = f"import gc, pathlib; import {__name__} as it; path = pathlib.Path({str(path)!r})"
    fresh_python(f"{begin}; it.{make.__name__}(path, {count})")
    source = f"{begin}; gc.disable(); print(it.{use.__name__}(path))"
    yield lambda: float(fresh_python(source)) / MILLISECOND


@contextmanager
def imported(module: str) -> Iterator[Measure]:
    """Measure the import of a module in a new Python."""
    source = (
        "from time import perf_counter; start = perf_counter()\n"
        f"import {module}\n"
        "print(perf_counter() - start)"
    )
    fresh_python(source)  # once for the bytecode
    yield lambda: float(fresh_python(source)) / MILLISECOND


def make_saved(path: Path, records: int) -> None:
    """Make a database that holds the document, and save it."""
    database = Database(FileStore(path, "never"))
    database.open()
    database.handle(_set(1, "document", document(records)))
    database.save()
    database.close()


def make_journal(path: Path, count: int) -> None:
    """Make a database with so many records in its journal: sets of one client."""
    database = Database(FileStore(path, "never"))
    database.open()
    for number in range(1, count + 1):
        database.handle(_set(number, f"key{number % KEYS}", number))
    database.close()


def _set(number: int, key: str, value: object) -> bytes:
    return encode_request(
        Write((), "__setitem__", (key, value), client=CLIENT, number=number, version=2)
    )


def make_pickle(path: Path, records: int) -> None:
    """Write the tree that `make_saved` saves, and nothing else."""
    tree = {"document": document(records)}
    path.write_bytes(pickle.dumps(tree, protocol=pickle.HIGHEST_PROTOCOL))


def open_database(path: Path) -> float:
    """Open a database as a server does; return the seconds that it took."""
    database = Database(FileStore(path))
    start = perf_counter()
    database.open()
    seconds = perf_counter() - start
    database.close()
    return seconds


def load_pickle(path: Path) -> float:
    """Unpickle a file that was read before; return the seconds that it took."""
    data = path.read_bytes()
    start = perf_counter()
    pickle.loads(data)
    return perf_counter() - start


def parse(path: Path) -> float:
    """Read a journal and decode the request of every record; return the seconds that it took."""
    start = perf_counter()
    for _, body in read_contents(Disk(), str(path)).records():
        decode_request(body[STAMP.size :])
    return perf_counter() - start

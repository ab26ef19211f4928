"""One document of 200,000 records of 4 fields, 20 MB of JSON: stored, read, held, saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Thread
from time import perf_counter, sleep
from typing import Any

import msgspec

from benchmarks import limits
from benchmarks.measuring import (
    MEGABYTE,
    MEGABYTES,
    MEGABYTES_PER_SECOND,
    MILLISECOND,
    MILLISECONDS,
    Benchmark,
    Failed,
    Goal,
    Measure,
    Setup,
)
from benchmarks.processes import Client, Factory, fresh_python, server, worker
from benchmarks.subject import NUMBERS, Server, opened, pyzdb_server
from benchmarks.tree import document, memory

JSON = "JSON + ZeroMQ alone"
PLAIN = "plain Python process"
SAVING = "pyzdb, while it saves"
IDLE = "pyzdb, no save"


def benchmarks(setup: Setup) -> list[Benchmark]:
    """Return the benchmarks of this module."""
    records = setup.sizes.records
    title = f"a document of {records:,} records"
    ours = partial(pyzdb_server, setup)
    duration = Duration()
    return [
        Benchmark(
            "document",
            f"store and read back {title}",
            MEGABYTES_PER_SECOND,
            {
                "pyzdb": partial(there_and_back, ours, storer, records),
                JSON: partial(
                    there_and_back, partial(server, limits.json_server), limits.json_client, records
                ),
            },
            (Goal("pyzdb", (JSON,), 0.6),),
        ),
        Benchmark(
            "memory",
            f"memory of a process that holds {title}",
            MEGABYTES,
            {"pyzdb": partial(server_memory, ours, records), PLAIN: partial(plain_memory, records)},
            (Goal("pyzdb", (PLAIN,), 1.3),),
        ),
        Benchmark(
            "stall",
            f"longest read while {title} is saved",
            MILLISECONDS,
            {
                SAVING: partial(longest_read, ours, records, duration, save),
                IDLE: partial(longest_read, ours, records, duration, wait),
            },
            (Goal(SAVING, (IDLE,), plus=20.0),),
        ),
    ]


@contextmanager
def storer(running: Server) -> Iterator[Callable[[Any], Any]]:
    """A function that stores a value and returns it read back."""
    with opened(running) as db:

        def store_and_read(value: Any) -> Any:
            db["document"] = value
            return db["document"]._run()

        yield store_and_read


@contextmanager
def there_and_back(running: Factory, client: Client, records: int) -> Iterator[Measure]:
    """Measure the megabytes of JSON per second, of one way, that are stored and read back."""

    @contextmanager
    def timing(address: Any) -> Iterator[Callable[[None], float]]:
        value = document(records)
        size = len(msgspec.json.encode(value))
        with client(address) as store_and_read:

            def megabytes_per_second(_: None) -> float:
                start = perf_counter()
                back = store_and_read(value)
                seconds = perf_counter() - start
                if back != value:
                    raise Failed("what was read is not what was stored")
                return size / MEGABYTE / seconds

            yield megabytes_per_second

    with running() as address, worker(partial(timing, address)) as work:
        work.call(None)
        yield lambda: float(work.call(None))


@contextmanager
def _holding(running: Factory, records: int) -> Iterator[Server]:
    """A server that holds the document, which a client that is gone has stored."""

    @contextmanager
    def storing(address: Server) -> Iterator[Callable[[None], None]]:
        with opened(address) as db:

            def store(_: None) -> None:
                db["document"] = document(records)

            yield store

    with running() as address:
        with worker(partial(storing, address)) as work:
            work.call(None)
        yield address


@contextmanager
def server_memory(running: Factory, records: int) -> Iterator[Measure]:
    """Measure a new server each time."""

    def measure() -> float:
        with _holding(running, records) as holding:
            return memory(holding.pid) / MEGABYTE

    yield measure


@contextmanager
def plain_memory(records: int) -> Iterator[Measure]:
    """Measure a new Python each time."""
    source = (
        "from benchmarks.tree import document, memory; "
        f"value = document({records}); print(memory('self'))"
    )
    yield lambda: float(fresh_python(source)) / MEGABYTE


@dataclass
class Duration:
    """How long the last save took, for the reads that are measured without one."""

    seconds: float = 0.0


def save(db: Any, seconds: float) -> None:
    """Save, however long that takes."""
    db.save()


def wait(db: Any, seconds: float) -> None:
    """Take as long as a save did."""
    sleep(seconds)


@contextmanager
def longest_read(
    running: Factory, records: int, duration: Duration, meanwhile: Callable[[Any, float], None]
) -> Iterator[Measure]:
    """Measure the longest of the reads of one client while another thread does ``meanwhile``."""

    @contextmanager
    def reading(address: Server) -> Iterator[Callable[[float], tuple[float, float]]]:
        with opened(address) as db:

            def read(seconds: float) -> tuple[float, float]:
                db["l"] = NUMBERS  # so that there is something to save
                thread = Thread(target=meanwhile, args=(db, seconds))
                longest, began = 0.0, perf_counter()
                thread.start()
                while thread.is_alive():
                    start = perf_counter()
                    db["l"][3]._run()
                    longest = max(longest, perf_counter() - start)
                thread.join()
                return longest, perf_counter() - began

            yield read

    with _holding(running, records) as address, worker(partial(reading, address)) as work:

        def measure() -> float:
            longest, duration.seconds = work.call(duration.seconds)
            return float(longest / MILLISECOND)

        measure()
        yield measure

"""The same work with more nodes in the tree, and with more clients.

More nodes: the server does not sync (`--fsync never`), since the time of a sync would hide what
the server itself takes. More clients: up to 16 are processes of one thread; 64 and 256 are 16
processes of 4 and 16 threads, each thread with a client of its own. So are those of the bare queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks import limits, subject
from benchmarks.measuring import (
    MICROSECOND,
    MICROSECONDS,
    REQUESTS,
    Benchmark,
    Goal,
    Measure,
    Opener,
    Setup,
)
from benchmarks.processes import Client, Factory, Span, Work, rate, repeat, server

FIELDS = 9
"""Fields of a record, which with the record itself make ten nodes."""

PROCESSES = 16
"""Processes that clients are at most; more clients are threads in these."""

FLAT = 1.15
"""What counts as flat: a time of so much of that in the smallest tree."""


def benchmarks(setup: Setup) -> list[Benchmark]:
    """Return the benchmarks of this module."""
    return [*_nodes(setup), _clients(setup)]


def _nodes(setup: Setup) -> Iterator[Benchmark]:
    sizes = setup.sizes
    running = partial(subject.pyzdb_server, setup, "never")
    labels = {nodes: f"pyzdb, {nodes:,} nodes" for nodes in sizes.nodes}
    first, *others = labels.values()
    for name, client in (("read", reader), ("set", setter), ("undo", undoer)):
        yield Benchmark(
            f"growth-{name}",
            f"one {name} in a tree of more and more nodes",
            MICROSECONDS,
            {
                label: partial(each, running, partial(client, nodes), sizes.requests // 2)
                for nodes, label in labels.items()
            },
            tuple(Goal(label, (first,), FLAT) for label in others),
        )


def _clients(setup: Setup) -> Benchmark:
    sizes = setup.sizes
    kinds: dict[str, tuple[Factory, Client]] = {
        "pyzdb": (partial(subject.pyzdb_server, setup), subject.reader),
        "bare queue": (partial(server, limits.bare_queue), limits.echo_client),
    }
    contenders: dict[str, Opener] = {}
    for count in sizes.clients:
        processes = min(count, PROCESSES)
        for kind, (running, client) in kinds.items():
            contenders[_of_clients(kind, count)] = partial(
                rate,
                running,
                client,
                sizes.requests * 4 // max(4, count),
                processes,
                count // processes,
            )
    ours = tuple(_of_clients("pyzdb", count) for count in sizes.clients)
    return Benchmark(
        "growth-clients",
        "more and more clients read db['l'][3]",
        REQUESTS,
        contenders,
        (Goal(ours[-1], ours, 0.8),),
    )


def _of_clients(kind: str, count: int) -> str:
    return f"{kind}, {count} client{'s' if count > 1 else ''}"


@contextmanager
def each(running: Factory, client: Client, count: int) -> Iterator[Measure]:
    """Measure the microseconds that one operation of one client takes."""
    with rate(running, client, count) as per_second:
        yield lambda: 1 / per_second() / MICROSECOND


@contextmanager
def _filled(nodes: int, running: subject.Server) -> Iterator[tuple[Any, str]]:
    """A tree of so many nodes, and the key of a record in its middle."""
    records = nodes // (FIELDS + 1)
    with subject.opened(running) as db:
        db["records"] = {
            f"r{number}": {f"f{place}": number + place for place in range(FIELDS)}
            for number in range(records)
        }
        db.save()  # or the server would by itself, while it is measured: the journal is large
        yield db["records"], f"r{records // 2}"


@contextmanager
def reader(nodes: int, running: subject.Server) -> Iterator[Work]:
    """Reads one field of one record."""
    with _filled(nodes, running) as (records, key):
        yield repeat(lambda: records[key]["f3"]._run())


@contextmanager
def setter(nodes: int, running: subject.Server) -> Iterator[Work]:
    """Sets one field of one record."""
    with _filled(nodes, running) as (records, key):
        yield repeat(partial(_set, records, key))


@contextmanager
def undoer(nodes: int, running: subject.Server) -> Iterator[Work]:
    """Undoes what set one field of one record, after as many sets as it undoes."""
    with subject.opened(running) as db, _filled(nodes, running) as (records, key):
        undo = repeat(db.undo)

        def work(count: int) -> Span:
            for _ in range(count):
                _set(records, key)
            return undo(count)

        yield work


def _set(records: Any, key: str) -> None:
    records[key]["f3"] = 3

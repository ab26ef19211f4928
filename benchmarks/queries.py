"""Reads and writes: by one client, by many at once, in batches, and beside remote objects.

Every client is a process of its own, which shares the machine with the server. Peers that keep
nothing are compared with pyzdb's `--fsync never`, those that sync with `--fsync always`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from benchmarks import limits, peers, subject
from benchmarks.measuring import COMMANDS, REQUESTS, Benchmark, Goal, Measure, Opener, Setup
from benchmarks.processes import Client, Factory, rate, server

PYZDB = "pyzdb"
QUEUE = "bare queue"
SYNCED_QUEUE = "bare queue + fdatasync"
POOLED_QUEUE = "the same, one fdatasync for all"
REDIS = "redis-py, appendfsync always"
UNSYNCED = "pyzdb, fsync never"


def benchmarks(setup: Setup) -> list[Benchmark]:
    """Return the benchmarks of this module."""
    sizes = setup.sizes
    many = f"{sizes.many} clients"
    alone = {"count": sizes.requests}
    synced = {"count": sizes.synced}
    together = {"count": sizes.shared, "clients": sizes.many}
    synced_together = {"count": sizes.shared_synced, "clients": sizes.many}
    ours = partial(subject.pyzdb_server, setup)
    unsynced = partial(subject.pyzdb_server, setup, "never")
    queue = partial(server, limits.bare_queue)
    redis = partial(peers.redis_server, setup)
    synced_queue = partial(server, partial(limits.synced_queue, setup))
    pooled_queue = partial(server, partial(limits.pooled_queue, setup))
    zeo = partial(server, partial(peers.zeo_server, setup))

    def remote(operation: str) -> dict[str, Opener]:
        """The remote objects, none of which keeps anything."""
        kinds: dict[str, tuple[Factory, Callable[..., AbstractContextManager[object]]]] = {
            "Pyro5": (peers.pyro_server, peers.pyro_client),
            "RPyC": (peers.rpyc_server, peers.rpyc_client),
            "Manager, Unix socket": (peers.manager_server, peers.manager_client),
        }
        return {
            label: partial(rate, partial(server, running), partial(client, operation), **alone)
            for label, (running, client) in kinds.items()
        }

    def batch(running: Factory, client: Callable[..., AbstractContextManager[object]]) -> Opener:
        keys = [f"key{number}" for number in range(sizes.commands)]
        return partial(
            commands, running, partial(client, keys), batches=sizes.batches, size=len(keys)
        )

    return [
        Benchmark(
            "read-1",
            "one client reads db['l'][3]",
            REQUESTS,
            {
                PYZDB: partial(rate, ours, subject.reader, **alone),
                QUEUE: partial(rate, queue, limits.echo_client, **alone),
            },
            (Goal(PYZDB, (QUEUE,), 0.85),),
        ),
        Benchmark(
            "read-16",
            f"{many} read db['l'][3]",
            REQUESTS,
            {
                PYZDB: partial(rate, ours, subject.reader, **together),
                QUEUE: partial(rate, queue, limits.echo_client, **together),
            },
            (Goal(PYZDB, (QUEUE,), 0.70),),
        ),
        Benchmark(
            "set-1",
            "one client sets db['x'], on the disk before the reply",
            REQUESTS,
            {
                PYZDB: partial(rate, ours, subject.setter, **synced),
                SYNCED_QUEUE: partial(rate, synced_queue, limits.echo_client, **synced),
                REDIS: partial(rate, redis, peers.redis_setter, **synced),
            },
            (Goal(PYZDB, (SYNCED_QUEUE,), 0.85), Goal(PYZDB, (REDIS,))),
        ),
        Benchmark(
            "set-16",
            f"{many} set db['x'], on the disk before the reply",
            REQUESTS,
            {
                PYZDB: partial(rate, ours, subject.setter, **synced_together),
                REDIS: partial(rate, redis, peers.redis_setter, **synced_together),
                SYNCED_QUEUE: partial(rate, synced_queue, limits.echo_client, **synced_together),
                POOLED_QUEUE: partial(rate, pooled_queue, limits.echo_client, **synced_together),
            },
            (Goal(PYZDB, (REDIS,)),),
        ),
        Benchmark(
            "batch-set",
            f"batches of {sizes.commands:,} sets, on the disk before the reply",
            COMMANDS,
            {
                PYZDB: batch(ours, subject.batch_setter),
                REDIS: batch(redis, peers.redis_batch_setter),
            },
            (Goal(PYZDB, (REDIS,), 2.0),),
        ),
        Benchmark(
            "batch-get",
            f"batches of {sizes.commands:,} gets",
            COMMANDS,
            {
                PYZDB: batch(ours, subject.batch_getter),
                REDIS: batch(redis, peers.redis_batch_getter),
            },
            (Goal(PYZDB, (REDIS,), 5.0),),
        ),
        # ZEO reads from a cache in the client: there is no remote get to compare with.
        Benchmark(
            "remote-get",
            "one remote get at a time",
            REQUESTS,
            {PYZDB: partial(rate, ours, subject.reader, **alone), **remote("get")},
            (Goal(PYZDB, ("Pyro5",)), Goal(PYZDB, ("RPyC",))),
        ),
        Benchmark(
            "remote-set",
            "one remote set at a time",
            REQUESTS,
            {
                PYZDB: partial(rate, ours, subject.setter, **synced),
                "ZEO commit": partial(rate, zeo, peers.zeo_setter, **synced),
                UNSYNCED: partial(rate, unsynced, subject.setter, **alone),
                **remote("set"),
            },
            (
                Goal(PYZDB, ("ZEO commit",)),
                Goal(UNSYNCED, ("Pyro5",)),
                Goal(UNSYNCED, ("RPyC",)),
            ),
        ),
    ]


@contextmanager
def commands(running: Factory, client: Client, batches: int, size: int) -> Iterator[Measure]:
    """Measure the commands per second of one client that sends batches of ``size`` commands."""
    with rate(running, client, batches) as measure:
        yield lambda: measure() * size

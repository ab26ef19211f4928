"""pyzdb as the others are measured: its server a process of its own, its client the usual one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.measuring import Failed, Setup
from benchmarks.processes import LOOPBACK, Work, free_ports, program, repeat
from pyzdb.client import client

NUMBERS = list(range(10))


class Server(NamedTuple):
    """A server that runs: where clients go, and its process id."""

    uri: str
    pid: int


PYZDB = """
import sys
sys.modules["redis"] = None
from pyzdb.cli.main import main
sys.exit(main())
"""
"""The command `pyzdb` as in an ordinary install, which has no redis-py: where the peers are
installed too, portalocker would load it, and a server would take 13 MB more."""


@contextmanager
def pyzdb_server(setup: Setup, fsync: str = "always") -> Iterator[Server]:
    """A server with an empty tree in a folder of its own."""
    folder = setup.new_folder()
    ports = free_ports(4)
    front, read_front, read_back, lock = [f"tcp://{LOOPBACK}:{port}" for port in ports]
    arguments = [sys.executable, "-c", PYZDB, "serve", str(folder / "db.pkl")]
    # No address for the back end of the write queue: it stays inside the process, the default.
    arguments += [front, "", read_front, read_back, lock, "--fsync", fsync]
    with program(arguments, ports[0], folder) as pid:
        yield Server(front, pid)


@contextmanager
def opened(server: Server) -> Iterator[Any]:
    """The tree of a server, for one client."""
    db, connection = client(server.uri)
    with connection:
        yield db


@contextmanager
def reader(server: Server) -> Iterator[Work]:
    """Reads one at a time."""
    with opened(server) as db:
        db["l"] = NUMBERS
        if db["l"][3]._run() != NUMBERS[3]:
            raise Failed("what was read is not what was stored")
        yield repeat(lambda: db["l"][3]._run())


@contextmanager
def setter(server: Server) -> Iterator[Work]:
    """Sets one at a time."""
    with opened(server) as db:

        def set_one() -> None:
            db["x"] = 3

        yield repeat(set_one)


@contextmanager
def batch_setter(keys: Sequence[str], server: Server) -> Iterator[Work]:
    """One batch that sets every key."""
    with opened(server) as db:

        def set_all() -> None:
            with db.batch() as batch:
                for number, key in enumerate(keys):
                    batch[key] = number

        yield repeat(set_all)


@contextmanager
def batch_getter(keys: Sequence[str], server: Server) -> Iterator[Work]:
    """One batch that gets every key."""
    with opened(server) as db:
        db.update({key: number for number, key in enumerate(keys)})

        def get_all() -> list[int]:
            with db.batch() as batch:
                results = [batch[key]._run() for key in keys]
            return [result.value for result in results]

        yield repeat(get_all)

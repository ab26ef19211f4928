"""Use a server and two read-only ones in every way for a long time, and look for what grows.

Clients change trees of their own with commands of every kind, errors among them, in threads that
stay, in threads of one request each and by connections of one request each; they lock, undo, save,
and read from the read-only servers. In the first half of the time the servers are killed (SIGKILL)
at random moments, in the second half none is.

At the end every tree must equal the model of its client, on the read-only servers as well, and
whatever was counted must be exact. What a client read may never go back. The memory, the
descriptors and the threads of every process must be the same in the last quarter as in the one
before it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import median
from typing import Any, NamedTuple

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.errors import QueryError
from tests.torture.clients import Worker, patiently
from tests.torture.middle import way_to
from tests.torture.processes import READY_LIMIT, ReadOnlyServer, Server, ServerEnded
from tests.torture.report import Count, Options, Run

SNAPSHOT_BYTES = 1_000_000
"""Bytes of journal from which on the server saves: often, in a test of a minute too."""

HISTORY_LIMIT = 200
"""Steps that are kept: the history must be full before memory is looked at."""

LONGEST_LIST = 40
"""Items of a list from which on it is cut: the trees must not grow."""

TEXT = 20_000
"""Characters of the longest text."""

PAUSE = 0.005
"""Seconds that a client thinks after a command: the processes should be busy, not the machine."""

LOOK = 0.25
"""Seconds between two looks at the processes."""

MEMORY_SLACK = 16 << 20
"""Bytes by which the memory of a process may differ between two quarters: what allocators keep. An
error that kept 2 KB would be seen after 8,000 of them."""

DESCRIPTOR_SLACK = 12
THREAD_SLACK = 6
"""By how many the medians of descriptors and threads may differ: those of a few requests."""


class Use(NamedTuple):
    """What a process uses: bytes of memory, descriptors and threads."""

    memory: float
    descriptors: float
    threads: float


SLACK = Use(MEMORY_SLACK, DESCRIPTOR_SLACK, THREAD_SLACK)


def use_of(pid: int) -> Use:
    """What a process uses now."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        fields = dict(line.split(":", 1) for line in file)
    memory = int(fields["VmRSS"].split()[0]) << 10
    return Use(memory, len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]))


class Watch:
    """Looks at processes, each of which has a name, and tells what grew."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._seen: dict[str, list[Use]] = {name: [] for name in pids}

    def look(self) -> None:
        """Take note of what every process uses."""
        for name, pid in self._pids.items():
            self._seen[name].append(use_of(pid))

    def growth(self) -> dict[str, Use]:
        """By how much the medians of the later half of the looks are above those of the earlier."""
        grown = {}
        for name, seen in self._seen.items():
            halves = seen[: len(seen) // 2], seen[len(seen) // 2 :]
            before, after = (tuple(map(median, zip(*half, strict=True))) for half in halves)
            grown[name] = Use(*(late - early for early, late in zip(before, after, strict=True)))
        return grown


# --- what clients do -----------------------------------------------------------------------


def change(tree: Any, draw: Random) -> Any:
    """One command at a tree, which may be a dict or the path of one: the result, or the error."""
    key = draw.choice("abcdef")
    value = draw.choice(
        [draw.randrange(10**6), [1, {"x": draw.random()}], "t" * draw.randrange(TEXT)]
    )
    choices: Sequence[Callable[[], Any]] = (
        lambda: tree.__setitem__(key, value),
        lambda: tree.update({key: value, "n": 0}),
        lambda: tree.setdefault(key, value),
        lambda: tree.pop(key, None),
        lambda: tree.__delitem__(key),
        lambda: tree["list"].append(draw.randrange(100)),
        lambda: tree["list"].sort(),
        lambda: tree["list"].pop(0),
        lambda: tree["list"].__delitem__(slice(LONGEST_LIST, None)),
        lambda: tree["list"].index(draw.randrange(100)),
        lambda: tree["missing"]["too"],
        lambda: tree.__len__(),
        lambda: tree.get(key, "nothing"),
    )
    try:
        result = draw.choice(choices)()
        return result._run() if hasattr(result, "_run") else result
    except (KeyError, IndexError, ValueError, TypeError) as error:
        return next(kind for kind in (KeyError, IndexError, ValueError) if isinstance(error, kind))


class Mixed(Worker):
    """A client with a tree of its own, and the ``model`` of it; works until ``ending`` is set."""

    def __init__(self, test: Run, number: int, uri: str, ending: threading.Event) -> None:
        super().__init__(test, f"client {number}", uri)
        self.model: dict[str, Any] = {"list": []}
        self.errors = 0
        self._random = Random(test.random.random())
        self._ending = ending

    def work(self, db: Any) -> None:
        """Do a command of a kind that is drawn, again and again."""
        db[self.name] = self.model
        kinds = (*[self._change] * 20, self._batch, self._batch, self._undo, self._save)
        while not self._ending.is_set():
            self._random.choice(kinds)(db)
            self.done += 1
            time.sleep(PAUSE * self._random.random())

    def _change(self, db: Any) -> None:
        seed = self._random.random()
        found, due = change(db[self.name], Random(seed)), change(self.model, Random(seed))
        self.errors += isinstance(due, type)
        if found != due:
            self._test.violation(f"{self.name}: a command gave {found!r}, and not {due!r}")

    def _batch(self, db: Any) -> None:
        number = self._random.randrange(1000)
        fails = self._random.random() < 0.3
        with contextlib.suppress(QueryError), db.batch() as batch:
            batch[self.name]["batch"] = number
            batch[self.name]["list"].append(number)
            if fails:
                batch[self.name]["missing"].append(number)
        if not fails:
            self.model["batch"] = number
            self.model["list"].append(number)

    def _undo(self, db: Any) -> None:
        with db.lock(lease=READY_LIMIT):
            db[self.name]["undone"] = self.done
            db.undo()

    def _save(self, db: Any) -> None:
        if self._random.random() < 0.1:
            db.save()


class Passing(Worker):
    """Adds one to a counter of its own, each time by ``visit``, until ``ending`` is set."""

    def __init__(self, test: Run, name: str, uri: str, ending: threading.Event) -> None:
        super().__init__(test, name, uri)
        self._ending = ending

    def work(self, db: Any) -> None:
        """Count, and count what was counted."""
        db[self.name] = 0
        while not self._ending.is_set():
            self.visit(db)
            self.done += 1
            time.sleep(PAUSE)

    def visit(self, db: Any) -> None:
        """Add one by a connection that serves for nothing else, which meets an error too."""
        passing, connection = client(self._uri, timeout=READY_LIMIT)
        with connection:
            self.add_one(passing)

    def add_one(self, db: Any) -> None:
        """Meet an error, and add one."""
        with contextlib.suppress(KeyError):
            db["missing"]._run()
        db[self.name] += 1


class PassingThreads(Passing):
    """Adds one in a thread that serves for nothing else."""

    def visit(self, db: Any) -> None:
        thread = threading.Thread(target=self._add_one_or_tell, args=(db,))
        thread.start()
        thread.join()

    def _add_one_or_tell(self, db: Any) -> None:
        try:
            self.add_one(db)
        except Exception as error:
            self._test.violation(f"{self.name}: after {self.done} writes: {error!r}")


class Leaky(Passing):
    """Never closes its connections: the fault that is planted."""

    def visit(self, db: Any) -> None:
        passing, connection = client(self._uri, timeout=READY_LIMIT)
        self.add_one(passing)
        _left_open.append(connection)


_left_open: list[Any] = []


class Reader(Worker):
    """Reads a counter that only grows from the read-only servers, until ``ending`` is set."""

    def __init__(
        self, test: Run, what: str, uris: tuple[str, str], ending: threading.Event
    ) -> None:
        super().__init__(test, f"reader of {what}", uris[0])
        self._read_uri = uris[1]
        self._what = what
        self._ending = ending

    def work(self, db: Any) -> None:
        """Read, and look whether it went back."""
        reading, connection = client(self._uri, self._read_uri, timeout=READY_LIMIT)
        newest = 0
        with connection:
            while not self._ending.is_set():
                number = patiently(lambda: reading.get(self._what, 0))
                if number < newest:
                    self._test.violation(f"{self.name}: read {number} after {newest}")
                newest = max(newest, number)
                self.done += 1
                time.sleep(PAUSE)


# --- the test ------------------------------------------------------------------------------


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        seconds=Count(3600, 20, "how long the clients work"),
        clients=Count(4, 3, "clients with a tree of their own"),
        kills=Count(100, 4, "how often a server is killed"),
    )
    options.add_plant("lost-write", "leak")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    fault = given.plant if given.plant != "leak" else None
    options = ("--snapshot-bytes", str(SNAPSHOT_BYTES), "--history-limit", str(HISTORY_LIMIT))
    with (
        Run("soak", given.seed) as test,
        Server(test.folder, *options) as server,
        ReadOnlyServer(server, "first") as first,
        ReadOnlyServer(server, "second") as second,
        way_to(server.write_uri, fault, given.seed) as uri,
    ):
        servers = {"server": server, "first read-only": first, "second read-only": second}
        ending = threading.Event()
        mixed = [Mixed(test, number, uri, ending) for number in range(given.clients)]
        short = Leaky if given.plant == "leak" else Passing
        passing = [
            short(test, "connections", uri, ending),
            PassingThreads(test, "threads", uri, ending),
        ]
        reader = Reader(test, "connections", (server.write_uri, server.read_uri), ending)
        growth: dict[str, Use] = {}
        try:
            with _all_working(servers, [*mixed, *passing, reader], ending):
                growth = _hurt_and_watch(test, servers, given)
            _compare(test, server, mixed, passing)
            for one in servers.values():
                one.stop()
        except ServerEnded as error:
            test.violation(f"a server ended: {error}")
        return test.finish(
            {
                "commands": sum(worker.done for worker in (*mixed, *passing, reader)),
                "errors of them": sum(worker.errors for worker in mixed),
                "connections": passing[0].done,
                "threads": passing[1].done,
                "kills": sum(one.kills for one in servers.values()),
                **{
                    f"MiB more in the {name}": round(use.memory / (1 << 20), 1)
                    for name, use in growth.items()
                },
            }
        )


@contextlib.contextmanager
def _all_working(
    servers: dict[str, Server], workers: Sequence[Worker], ending: threading.Event
) -> Iterator[None]:
    for server in servers.values():
        server.start()
    for server in servers.values():
        server.wait_until_ready()
    try:
        for worker in workers:
            worker.start()
        yield
        ending.set()
        for worker in workers:
            worker.join()
    finally:
        ending.set()
        for worker in workers:
            worker.end()


def _hurt_and_watch(
    test: Run, servers: dict[str, Server], given: argparse.Namespace
) -> dict[str, Use]:
    """Kill servers for half of the time, and watch all processes for the other; what grew."""
    began = time.monotonic()
    half = given.seconds / 2
    moments = sorted(test.random.uniform(0, 0.9 * half) for _ in range(given.kills))
    for moment in moments:
        _pass_until(test, began, began + moment, given.seconds)
        test.random.choice(list(servers.values())).restart()
    _pass_until(test, began, began + half, given.seconds)
    pids = {name: server.pid for name, server in servers.items()}
    watch = Watch({"clients": os.getpid(), **pids})
    while time.monotonic() - began < given.seconds:
        _pass_until(test, began, time.monotonic() + LOOK, given.seconds)
        for server in servers.values():
            server.check()
        watch.look()
    growth = watch.growth()
    for name, use in growth.items():
        for what, grown, most in zip(Use._fields, use, SLACK, strict=True):
            if grown > most:
                test.violation(f"the {what} of the {name} grew by {grown:,.0f}")
    return growth


def _pass_until(test: Run, began: float, moment: float, seconds: float) -> None:
    while (left := moment - time.monotonic()) > 0:
        test.progress(int(time.monotonic() - began), int(seconds), "seconds")
        time.sleep(min(left, LOOK))


def _compare(test: Run, server: Server, mixed: Sequence[Mixed], passing: Sequence[Passing]) -> None:
    """Compare what every server holds with what was done."""
    due: dict[str, Any] = {worker.name: worker.model for worker in mixed}
    due |= {worker.name: worker.done for worker in passing}
    db, connection = client(server.write_uri, timeout=READY_LIMIT)
    with connection:
        held = db._run()
        _tell_differences(test, "the server", due, held)
    for number in range(2):
        reading, connection = client(server.write_uri, server.read_uri, timeout=READY_LIMIT)
        with connection:
            ends = time.monotonic() + READY_LIMIT
            while reading._run() != held and time.monotonic() < ends:
                time.sleep(LOOK)
            _tell_differences(test, f"read-only server {number}", held, reading._run())


def _tell_differences(test: Run, where: str, due: dict[str, Any], found: dict[str, Any]) -> None:
    for name in due.keys() | found.keys():
        if due.get(name) != found.get(name):
            text = f"{where}: {name!r} is {found.get(name)!r:.300}, and not {due.get(name)!r:.300}"
            test.violation(text)

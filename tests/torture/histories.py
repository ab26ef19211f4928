"""Record what clients see while the server is killed, and check that one copy could have done it.

In each history clients write, add to, append to, pop and read a few registers, counters and lists,
all at the same time. The server is killed at random moments and started again. Some clients give up
soon, and so do not know what became of some operations. Then the checker of linearizability.py
looks for an order that explains all results.

After that the same is done with a fault between clients and server: a stale read, a lost write, a
write that is done twice. The checker has to notice each. With --plant only that is done, and the
test fails, as it should.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.errors import OutcomeUnknown, PathIndexError, ServerTimeout
from tests.torture.clients import Worker, kill_during, resending_after
from tests.torture.linearizability import (
    COUNTER,
    EMPTY,
    LIST,
    REGISTER,
    Model,
    Operation,
    misfits,
)
from tests.torture.middle import way_to
from tests.torture.processes import READY_LIMIT, Server, ServerEnded
from tests.torture.report import Count, Options, Run

RESEND = 0.04
"""Seconds of silence after which a client sends again: a history should not be mostly silence."""

SOON = 0.03
"""Seconds after which an impatient client gives up: less than a restart takes."""

IMPATIENT = 4
"""One of so many clients gives up soon. Operations of unknown outcome are what makes a check
hard, and a few are enough to meet every case."""

SNAPSHOT_BYTES = 50_000
"""Bytes of journal from which on the server saves: about once in a history."""

PLANTED = ("stale-read", "lost-write", "double-write")
"""The faults that the checker has to notice."""

KEYS: Mapping[str, Model] = {
    f"{kind} {number}": model
    for kind, model in (("register", REGISTER), ("counter", COUNTER), ("list", LIST))
    for number in range(3)
}
"""What a history works on: so few that clients meet at each."""


def _write(place: Any, key: str, value: int) -> None:
    place[key] = value


def _add(place: Any, key: str, value: int) -> None:
    place[key] += value


def _append(place: Any, key: str, value: int) -> None:
    place[key].append(value)


def _pop(place: Any, key: str, value: None) -> Any:
    try:
        return place[key].pop()
    except PathIndexError:
        return EMPTY


def _read(place: Any, key: str, value: None) -> Any:
    found = place[key]._run()
    return tuple(found) if isinstance(found, list) else found


ACTIONS: Mapping[str, Callable[[Any, str, Any], Any]] = {
    "write": _write,
    "add": _add,
    "append": _append,
    "pop": _pop,
    "read": _read,
}
"""How a client does what the models know."""

CHOICES: Mapping[Model, tuple[str, ...]] = {
    REGISTER: ("read", "write"),
    COUNTER: ("read", "add"),
    LIST: ("read", "append", "append", "pop"),
}
"""What is drawn from for a key of each model."""


class Client(Worker):
    """Does random operations below ``place`` in the tree, and records them."""

    def __init__(self, test: Run, uri: str, place: str, number: int, operations: int) -> None:
        name = f"{place}, client {number}"
        timeout = READY_LIMIT if number % IMPATIENT else SOON
        super().__init__(test, name, uri, timeout, resending_after(RESEND))
        self.recorded: list[Operation] = []
        self._place = place
        self._number = number
        self._operations = operations
        self._random = random.Random(f"{test.seed}, {name}")

    def work(self, db: Any) -> None:
        """Do all operations."""
        while self.done < self._operations:
            self._operate(db[self._place])
            self.done += 1

    def _operate(self, place: Any) -> None:
        key = self._random.choice(list(KEYS))
        action = self._random.choice(CHOICES[KEYS[key]])
        argument = None
        if action == "add":
            argument = 1
        elif action in ("write", "append"):
            # No other operation of this history writes the same value.
            argument = self._number * self._operations + self.done + 1
        self.recorded.append(recorded(place, key, action, argument))


def recorded(place: Any, key: str, action: str, argument: int | None) -> Operation:
    """Do an operation and return what is known of it."""
    called = time.monotonic()
    try:
        result = ACTIONS[action](place, key, argument)
    except (ServerTimeout, OutcomeUnknown):
        return Operation(key, action, argument, called, None)
    return Operation(key, action, argument, called, time.monotonic(), result)


class Histories:
    """Makes and checks histories of one server, and counts what they were made of."""

    def __init__(self, test: Run, server: Server, given: argparse.Namespace) -> None:
        self.histories = self.operations = self.unknown = 0
        self._test = test
        self._server = server
        self._given = given

    def check_one(self, name: str, fault: str | None) -> list[str]:
        """Record a history, with a fault or without, and return what is wrong with it."""
        history = self._record(name, fault)
        self.histories += 1
        self.operations += len(history)
        self.unknown += sum(one.returned is None for one in history)
        found = misfits(history, KEYS)
        if found:
            _keep(self._test.folder / f"{name}.json", history)
        return [f"{name}: at {key} nothing explains {one}" for key, one in found.items()]

    def _record(self, name: str, fault: str | None) -> list[Operation]:
        given, server = self._given, self._server
        db, connection = client(server.write_uri, timeout=READY_LIMIT)
        with connection, way_to(server.write_uri, fault, given.seed) as uri:
            db[name] = {key: _as_stored(model.initial) for key, model in KEYS.items()}
            share = given.operations // given.clients
            clients = [
                Client(self._test, uri, name, number, share) for number in range(given.clients)
            ]
            total = share * given.clients
            kill_during(self._test, server, clients, total, given.kills, f"of {name}")
            # What is there at the end has to be explained too.
            last = [recorded(db[name], key, "read", None) for key in KEYS]
        return [one for each in clients for one in each.recorded] + last


def _as_stored(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _keep(path: Path, history: list[Operation]) -> None:
    """Write a history that somebody should look at, in the order of its calls."""
    lines = [json.dumps(one._asdict()) for one in sorted(history, key=lambda one: one.called)]
    path.write_text("\n".join(lines) + "\n")


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        histories=Count(50, 3, "histories"),
        operations=Count(2000, 1000, "operations in each history"),
        clients=Count(8, 8, "clients that work at the same time"),
        kills=Count(4, 2, "how often the server is killed in each history"),
    )
    options.add_plant(*PLANTED)
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with (
        Run("histories", given.seed) as test,
        Server(test.folder, "--snapshot-bytes", str(SNAPSHOT_BYTES)) as server,
    ):
        histories = Histories(test, server, given)
        noticed = 0
        try:
            server.start()
            server.wait_until_ready()
            for number in range(given.histories):
                for violation in histories.check_one(f"history {number}", given.plant):
                    test.violation(violation)
            for fault in PLANTED if given.plant is None else ():
                if histories.check_one(fault, fault):
                    noticed += 1
                else:
                    test.violation(f"the planted {fault} was not noticed")
            server.stop()
        except ServerEnded as error:
            test.violation(f"the server did not come back: {error}")
        figures = {
            "histories": histories.histories,
            "operations": histories.operations,
            "of unknown outcome": histories.unknown,
            "kills": server.kills,
        }
        if given.plant is None:
            figures[f"of {len(PLANTED)} planted faults noticed"] = noticed
        return test.finish(figures)

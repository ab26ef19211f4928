"""Lose requests and replies on the way, kill the server too, and count what was done.

Between the clients and the server stands a relay that drops 20 % of the requests and 20 % of the
answers. Each client appends the numbers 0, 1, 2... to a list of its own, and after each append adds
1 to a total of all clients, in a batch that also reads it. Meanwhile the server is killed at random
moments and started again.

At the end every list is exact, the total too, and every total has been given to one client once. A
request that is answered again gets the same bytes, also from a server that was started meanwhile.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.errors import OutcomeUnknown
from pyzdb.protocol.replies import decode_reply
from pyzdb.protocol.requests import decode_request
from tests.torture.clients import Worker, kill_during, resending_after
from tests.torture.middle import Middle, Sender, way_to
from tests.torture.processes import READY_LIMIT, Server, ServerEnded
from tests.torture.report import Count, Options, Run

LOSS = 0.2
"""The share of messages that is lost, each way."""

RESEND = 0.02
"""Seconds of silence after which a client sends again: one request in three has to."""

SNAPSHOT_BYTES = 200_000
"""Bytes of journal from which on the server saves: answers come from saves as well."""


class Relay(Middle):
    """Loses messages, and compares the answers to the same request."""

    def __init__(self, target: str, test: Run, server: Server) -> None:
        super().__init__(target, test.seed)
        self.lost = 0
        self.repeated = 0
        self.repeated_by_another = 0
        self.late = 0
        self._test = test
        self._server = server
        self._asked: dict[Sender, tuple[str, int]] = {}
        self._first: dict[tuple[str, int], tuple[bytes, int]] = {}
        self._newest: dict[str, int] = {}

    def request(self, sender: Sender, message: bytes) -> None:
        if self.random.random() < LOSS:
            self.lost += 1
            return
        request = decode_request(message)
        if request.number:
            self._asked[sender] = (request.client, request.number)
            self._newest[request.client] = request.number
        self.to_server(sender, message)

    def answer(self, sender: Sender, message: bytes) -> None:
        once = self._asked.pop(sender, None)
        if once is not None:
            self._compare(once, message)
        if self.random.random() < LOSS:
            self.lost += 1
        else:
            self.to_client(sender, message)

    def _compare(self, once: tuple[str, int], message: bytes) -> None:
        answer = (message, self._server.kills)
        first, kills = known = self._first.setdefault(once, answer)
        if known is answer:
            return
        client, number = once
        if message == first:
            self.repeated += 1
            self.repeated_by_another += kills != self._server.kills
        elif self._newest[client] > number and isinstance(
            decode_reply(message).error, OutcomeUnknown
        ):
            # A copy that was overtaken by the next request: its client does not wait any more.
            self.late += 1
        else:
            self._test.violation(
                f"request {number} of {client} got {first!r}, and later {message!r}"
            )


class Adder(Worker):
    """A client that appends and adds; ``totals`` are those that it was given."""

    def __init__(self, test: Run, name: str, uri: str, appends: int) -> None:
        super().__init__(test, name, uri, waits=resending_after(RESEND))
        self.totals: list[int] = []
        self.appends = appends

    def work(self, db: Any) -> None:
        """Do all appends and additions."""
        for number in range(self.appends):
            db[self.name].append(number)
            self.done += 1
            with db.batch() as batch:
                batch["total"] += 1
                total = batch["total"]._run()
            self.totals.append(total.value)
            self.done += 1


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        clients=Count(8, 8, "clients that write"),
        appends=Count(5000, 60, "appends of each client, and as many additions"),
        kills=Count(50, 5, "how often the server is killed"),
    )
    options.add_plant("lost-write", "double-write", "second-run")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with (
        Run("relay", given.seed) as test,
        Server(test.folder, "--snapshot-bytes", str(SNAPSHOT_BYTES)) as server,
        way_to(server.write_uri, given.plant, given.seed) as uri,
        Relay(uri, test, server) as relay,
    ):
        adders = [
            Adder(test, f"client {number}", relay.uri, given.appends)
            for number in range(given.clients)
        ]
        try:
            _hurt(test, server, given.kills, adders, 2 * given.appends * given.clients)
        except ServerEnded as error:
            test.violation(f"the server did not come back: {error}")
        return test.finish(
            {
                "clients": given.clients,
                "writes": sum(adder.done for adder in adders),
                "messages lost": relay.lost,
                "kills": server.kills,
                "answers repeated": relay.repeated,
                "of them by a later server": relay.repeated_by_another,
                "copies refused as too late": relay.late,
            }
        )


def _hurt(test: Run, server: Server, kills: int, adders: Sequence[Adder], writes: int) -> None:
    server.start()
    server.wait_until_ready()
    db, connection = client(server.write_uri, timeout=READY_LIMIT)
    with connection:
        db["total"] = 0
        for adder in adders:
            db[adder.name] = []
        kill_during(test, server, adders, writes, kills, "writes")
        _check(test, db, adders)
        server.stop()


def _check(test: Run, db: Any, adders: Sequence[Adder]) -> None:
    """Compare what is stored with what was done."""
    for adder in adders:
        stored = db[adder.name]._run()
        due = list(range(adder.appends))
        if stored != due:
            lost = sorted((Counter(due) - Counter(stored)).elements())
            more = sorted((Counter(stored) - Counter(due)).elements())
            test.violation(f"{adder.name}: lost: {lost}, done again: {more}, or out of order")
    given = sorted(total for adder in adders for total in adder.totals)
    if given != list(range(1, len(given) + 1)):
        test.violation(f"{len(given)} additions gave {len(set(given))} totals up to {given[-1]}")
    total = db["total"]._run()
    if total != len(given):
        test.violation(f"the total is {total} after {len(given)} additions")

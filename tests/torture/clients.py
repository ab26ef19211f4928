"""Clients that work while their server is killed."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any

from pyzdb.client import Connection
from pyzdb.errors import ConnectionClosed, OutcomeUnknown, PyzdbError, ServerTimeout
from pyzdb.protocol.waits import USUAL_WAITS, Waits
from pyzdb.proxy.root import Root
from tests.torture.processes import READY_LIMIT, Server
from tests.torture.report import Run

LOOK = 0.05
"""Seconds between two looks at how far the clients are, at most."""


class Worker(Thread):
    """A client in a thread of its own: ``done`` counts what it has done.

    A subclass says in ``work`` what that is. An error that it does not expect is a violation.
    """

    def __init__(
        self,
        test: Run,
        name: str,
        uri: str,
        timeout: float = READY_LIMIT,
        waits: Waits = USUAL_WAITS,
    ) -> None:
        super().__init__(name=name)
        self.done = 0
        self._test = test
        self._uri = uri
        self._timeout = timeout
        self._waits = waits
        self._connection: Connection | None = None

    def run(self) -> None:
        """Work until the work is done, or somebody calls ``end``."""
        self._connection = Connection(self._uri, None, self._timeout, waits=self._waits)
        db = Root(self._connection)
        with self._connection:
            try:
                self.work(db)
            except ConnectionClosed:
                return
            except PyzdbError as error:
                self._test.violation(f"{self.name}: after {self.done} writes: {error!r}")

    @abstractmethod
    def work(self, db: Any) -> None:
        """Do what this client is for, and count it."""

    def end(self) -> None:
        """Have the thread end, whether its work is done or not, and wait for that."""
        if self._connection is not None:
            self._connection.close()
        self.join()


def resending_after(seconds: float) -> Waits:
    """The waits of a client that sends again after this silence, and never waits much longer.

    As a setting of `client()` it would tempt applications to flood a slow server.
    """
    return Waits(first_resend=seconds, longest_resend=4 * seconds)


def patiently(work: Callable[[], Any]) -> Any:
    """Do what may be done twice, again and again until the server answers."""
    ends = time.monotonic() + READY_LIMIT
    while True:
        try:
            return work()
        except (ServerTimeout, OutcomeUnknown):
            if time.monotonic() > ends:
                raise


def kill_during(
    test: Run, server: Server, workers: Sequence[Worker], work: int, kills: int, what: str = ""
) -> None:
    """Start the workers, kill and restart the server at random moments, and wait for their end.

    ``work`` is what they will have done together at the end. Raises ServerEnded.
    """
    moments = sorted(test.random.choices(range(work * 9 // 10), k=kills))
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            done = sum(worker.done for worker in workers)
            test.progress(done, work, what)
            if moments and done >= moments[0]:
                del moments[0]
                server.restart()
            time.sleep(LOOK * test.random.random())
    finally:
        for worker in workers:
            worker.end()

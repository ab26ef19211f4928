"""Clients that work while their server is killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from typing import Any

import pyzdb.client
from pyzdb.errors import OutcomeUnknown, ServerTimeout
from torture.processes import READY_LIMIT, Server
from torture.report import Run

LOOK = 0.05
"""Seconds between two looks at how far the clients are, at most."""


class Worker(Thread):
    """A client in a thread of its own; ``done`` counts what it has done."""

    done = 0


@contextlib.contextmanager
def resending_after(seconds: float) -> Iterator[None]:
    """Have all new connections send again after this silence, and never wait much longer.

    As a setting of one connection it would tempt applications to flood a slow server.
    """
    before = pyzdb.client.FIRST_RESEND, pyzdb.client.LONGEST_RESEND
    pyzdb.client.FIRST_RESEND, pyzdb.client.LONGEST_RESEND = seconds, 4 * seconds
    try:
        yield
    finally:
        pyzdb.client.FIRST_RESEND, pyzdb.client.LONGEST_RESEND = before


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
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            done = sum(worker.done for worker in workers)
            test.progress(done, work, what)
            if moments and done >= moments[0]:
                del moments[0]
                server.restart()
            time.sleep(LOOK * test.random.random())
    finally:
        for worker in workers:
            worker.join()

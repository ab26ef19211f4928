"""What tests do with their clients."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyzdb.client
from pyzdb.errors import OutcomeUnknown, ServerTimeout
from torture.processes import READY_LIMIT


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

"""The lock as the thread of a client has it, and what it hears that has to wait for it.

Rules this module keeps:

- A lock is one thread's, and of one asyncio task of it.
- It is used at the address that the server names for it, or at the one that it was asked for: at
  the one that answered last, and when that is silent at each in turn.
"""

from __future__ import annotations

import sys

from pyzdb.errors import LockError
from pyzdb.protocol.messages import WireReply


class Holding:
    """The lock of one thread: its ``token`` (None: not held), the ``address`` that the server named
    for it, the ``uri`` to use under it, and the asyncio ``task`` that took it, if there is one."""

    __slots__ = ("address", "task", "token", "uri")

    def __init__(self) -> None:
        self.token: int | None = None
        self.address = ""
        self.uri = ""
        self.task: object = None

    def take(self, token: int) -> None:
        """Hold the lock."""
        self.task = current_task()
        self.token = token

    def give_up(self) -> None:
        """Hold the lock no more."""
        self.token = self.task = None

    def use_at(self, address: str, asked: str) -> None:
        """Use the lock at the address that was named, or where it was ``asked`` for, if that was
        the one that answered last time."""
        was_silent = address == self.address and self.uri == asked
        self.address = address
        self.uri = asked if was_silent else address

    def check(self) -> None:
        """Raise LockError when another task of the thread uses the lock than the one that took
        it: they take turns at every `await`, which no lock of a thread can see."""
        if self.task is not current_task():
            raise LockError(
                "the lock was taken by another asyncio task of this thread, and is that task's own"
            )


def current_task() -> object:
    """The asyncio task that runs, or its loop; None where there is none."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    loop = asyncio.events._get_running_loop()
    return None if loop is None else asyncio.current_task(loop) or loop


def whose(reply: WireReply, waited: float) -> str:
    """Why a client has not got the lock in the seconds that it ``waited``."""
    holder = "" if reply.lock is None else reply.lock.holder
    if not holder:
        return f"others asked for the lock before, and it was not free within {waited:.1f} s"
    return f"another client has held the lock: {holder}; waited for {waited:.1f} s"

"""The lock as one caller of a client has it, and what it hears when it has to wait for it.

Rules this module keeps:

- A lock is its caller's alone: who that is, a client says (a thread, and a task of it).
- It is used at the address that the server names for it, or at the one that it was asked for: at
  the one that answered last, and when that is silent at each in turn.
"""

from __future__ import annotations

from collections.abc import Callable

from pyzdb.errors import LockError, LockTimeout
from pyzdb.protocol.replies import WireReply


class Holding:
    """The lock of one caller: its ``token`` (None: not held), the ``address`` that the server named
    for it, and the ``uri`` to use under it.

    ``caller`` tells apart those who share a holding; what it gives is compared by identity.
    """

    __slots__ = ("_caller", "_owner", "address", "token", "uri")

    def __init__(self, caller: Callable[[], object] = lambda: None) -> None:
        self.token: int | None = None
        self.address = ""
        self.uri = ""
        self._caller = caller
        self._owner: object = None

    def take(self, token: int) -> None:
        """Hold the lock."""
        self._owner = self._caller()
        self.token = token

    def release(self) -> None:
        """Hold the lock no more."""
        self.token = self._owner = None

    def use_at(self, address: str, asked: str) -> None:
        """Use the lock at the address that was named, or where it was ``asked`` for, if that was
        the one that answered last time."""
        was_silent = address == self.address and self.uri == asked
        self.address = address
        self.uri = asked if was_silent else address

    def check(self) -> None:
        """Raise LockError when another asyncio task of the thread uses the lock than the one that
        took it: they take turns at every `await`, which no lock of a thread can see."""
        if self._owner is not self._caller():
            raise LockError(
                "the lock was taken by another asyncio task of this thread, and is that task's own"
            )


def not_granted(reply: WireReply, waited: float) -> LockTimeout:
    """The error of a client that has not got the lock in the seconds that it ``waited``."""
    holder = "" if reply.lock is None else reply.lock.holder
    why = f"others asked for the lock before, and it was not free within {waited:.1f} s"
    if holder:
        why = f"another client has held the lock: {holder}; waited for {waited:.1f} s"
    return LockTimeout(why, holder, waited)

"""What a session asks of its driver, and what it is told: plain values.

A driver runs a generator of a session: it does each step that is yielded and sends a `Heard` back;
what fails meanwhile it throws into the generator, which may have to give a lock back. A driver has
the sockets, the clock and the sleep; a session decides.

    =========  ====================================================  ==========================
    step       what a driver does                                    what it sends in `Heard`
    =========  ====================================================  ==========================
    Send       sends a message and waits for its reply               the reply; None: silence
    Pause      waits
    Tell       tells the application what it waits for
    Turn       tells the operator where reads go from now on
    Renew      has another connection made to a silent address
    Reach      gets ready to send to an address that a server named  the address; "": it cannot
    Diagnose   looks why an address may be silent                    why; "": nothing is known
    Post       sends a message if it goes at once                    the address; "": not sent
    Peek       looks for a reply to what was posted                  the reply; None: none yet
    Leave      has a message sent some time, and drops the reply
    =========  ====================================================  ==========================
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

import msgspec

from pyzdb.protocol.replies import WireReply


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send a message to an address, and wait ``patience`` seconds for its reply."""

    message: bytes
    address: str
    patience: float


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Wait for so many seconds."""

    seconds: float


class Tell(msgspec.Struct, frozen=True, gc=False):
    """Tell the application what it has waited for: "silent", "locked", "saving" or "behind"."""

    reason: str
    seconds: float


class Turn(msgspec.Struct, frozen=True, gc=False):
    """Tell the operator that reads go to the server that writes, or to those that only read."""

    is_away: bool


class Renew(msgspec.Struct, frozen=True, gc=False):
    """Have another connection made to an address: the one there is may be dead."""

    address: str


class Reach(msgspec.Struct, frozen=True, gc=False):
    """Get ready to send to the address that a server ``named``, as it is seen from here."""

    named: str


class Diagnose(msgspec.Struct, frozen=True, gc=False):
    """Look why an address may be silent."""

    address: str


class Post(msgspec.Struct, frozen=True, gc=False):
    """Send a message if it can go at once, and wait for nothing."""

    message: bytes
    address: str


class Peek(msgspec.Struct, frozen=True, gc=False):
    """Look whether the reply to what was posted has come, and wait for nothing."""

    address: str


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Have a message sent when its server is there again, whoever is there to hear the reply."""

    message: bytes
    address: str


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What came of a step: the time ``now``, in seconds of a monotonic clock, and a ``reply`` or a
    ``text``, as the table has it."""

    now: float
    reply: WireReply | None = None
    text: str = ""


Step: TypeAlias = Send | Pause | Tell | Turn | Renew | Reach | Diagnose | Post | Peek | Leave
"""Any of them."""

T = TypeVar("T")

Steps: TypeAlias = Generator[Step, Heard, T]
"""A conversation with a driver, and what comes of it."""

"""How long a client waits for what, where nobody says otherwise."""

from __future__ import annotations

import msgspec

FIRST_RESEND = 0.25
"""Seconds of silence after which a request is sent again: far more than an answer takes, and
little enough for a restarted server to be found at once. Each further one waits twice as long."""

LONGEST_RESEND = 2.0
"""Seconds between two sends at most."""

NEW_SOCKET = 3.0
"""Seconds of silence after which a connection is replaced, at most half the timeout; each further
one is given twice as long: a server that is only busy need not greet all of its clients anew."""

READER_PATIENCE = 2.0
"""Seconds of silence, at most half the timeout, after which a read goes to the server that writes:
longer than a read-only server takes to start again."""

PROBE_INTERVAL = 1.0
"""Seconds between two questions whether a read-only server answers again, for which no read
waits."""

UPLOAD_RATE = 5_000_000
"""Bytes a second that even a busy server takes in: a large request is not sent again before."""

LARGE = int(UPLOAD_RATE * FIRST_RESEND)
"""Bytes of a request from which on that is later than the first time to send it again."""

FIRST_RETURN = 0.002
"""Seconds until a request that has to wait comes back; each further time takes half as long
again."""

LONGEST_RETURN = 0.1
"""Seconds between two tries of a request that has to wait, where the server does not say."""

BEHIND_PATIENCE = 1.0
"""Seconds that a read-only server may be behind what its client has seen until the writing server
is asked whether there is such a commit: far more than it takes to read it."""


class Waits(msgspec.Struct, frozen=True):
    """How long a session waits for what, in seconds; each is told where its default stands."""

    first_resend: float = FIRST_RESEND
    longest_resend: float = LONGEST_RESEND
    new_socket: float = NEW_SOCKET
    reader_patience: float = READER_PATIENCE
    probe_interval: float = PROBE_INTERVAL
    first_return: float = FIRST_RETURN
    longest_return: float = LONGEST_RETURN
    behind_patience: float = BEHIND_PATIENCE


USUAL_WAITS = Waits()

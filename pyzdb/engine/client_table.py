"""What was answered to whom: so that a request which is sent again happens once.

Rules this module keeps:

- A client numbers its requests 1, 2, 3... and has one under way at a time, so the last answer to
  each client is enough.
- A repeat gets the same bytes. When these are not known any more, or when the client may have
  been forgotten, it gets OutcomeUnknown: nothing is ever done a second time.
- The table is bounded in clients and in bytes. A client that is not in it can have been forgotten
  only if it said hello before one that was dropped was last answered: its ``since`` tells.
"""

from __future__ import annotations

from typing import Any

from pyzdb.errors import OutcomeUnknown

MAX_CLIENTS = 10_000
"""Clients that are remembered; those that have not written for the longest time go first."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all answers that are remembered: enough for 10,000 usual ones and a few large ones."""


Answer = tuple[int, bytes | None, int]
"""The number of a request, what it was answered if that is kept, and the sequence by then."""

_NOTHING: Answer = (0, None, 0)
"""What is known of a client that has not written."""


class ClientTable:
    """The last answer to each client."""

    def __init__(self, max_clients: int = MAX_CLIENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_clients = max_clients
        self._max_bytes = max_bytes
        self._known: dict[str, Answer] = {}  # the longest silent first
        self._size = 0
        self._forgotten = 0

    def repeat(self, client: str, number: int, since: int) -> bytes | None:
        """The answer to a repeated request; None for a new one. Raises OutcomeUnknown."""
        known = self._known.get(client)
        if known is None:
            if since < self._forgotten:
                raise OutcomeUnknown(
                    "this server may have forgotten this client: whether the request was done "
                    "before is not known, and it is not done now"
                )
            return None
        last, answer, _ = known
        if number > last:
            return None
        if number < last or answer is None:
            raise OutcomeUnknown(
                f"the answer to request {number} is forgotten: it is not done again"
            )
        return answer

    def remember(self, client: str, number: int, answer: bytes, sequence: int) -> None:
        """Keep the answer to a client's newest request; ``sequence`` is the journal's by now."""
        known = self._known
        kept = answer if len(answer) <= self._max_bytes else None
        _, before, _ = known.pop(client, _NOTHING)  # to stand at the end again
        known[client] = (number, kept, sequence)
        self._size += len(kept or b"") - len(before or b"")
        while len(known) > self._max_clients or self._size > self._max_bytes:
            _, dropped, answered = known.pop(next(iter(known)))
            self._size -= len(dropped or b"")
            self._forgotten = max(self._forgotten, answered)

    def state(self) -> dict[str, Any]:
        """All of it as builtins, for a snapshot."""
        return {"known": dict(self._known), "forgotten": self._forgotten}

    def restore(self, state: dict[str, Any], sequence: int) -> None:
        """Take the place of what ``state`` described, in a snapshot up to ``sequence``."""
        # Earlier versions did not keep when a client was answered.
        self._known = {
            name: (number, answer, answered[0] if answered else sequence)
            for name, (number, answer, *answered) in state["known"].items()
        }
        self._forgotten = state["forgotten"]
        self._size = sum(len(answer or b"") for _, answer, _ in self._known.values())

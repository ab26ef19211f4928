"""The line of those who wait for the lock."""

from __future__ import annotations

from itertools import islice

FIRST_RETURN = 0.002
"""Seconds until the next in line comes back at least: the lock is idle for so long, and a look at
it costs a twentieth of that."""

LONGEST_RETURN = 0.1
"""Seconds until a waiting client comes back at most: a lock that is free is noticed soon."""

PLACE_KEPT = 1.0
"""Seconds that a place in the line is kept for a client that does not come back: ten times the
longest until it should, as a busy machine may be late, and as long as others wait for the dead."""

MAX_WAITING = 10_000
"""Places in the line: more than a server has clients. A client that comes when it is full
waits without one."""


class Line:
    """Those who wait for the lock, in order of asking; times are seconds of a monotonic clock.

    ``kept`` tells until when each place is; each request looks whether there is one.
    """

    def __init__(self) -> None:
        self.kept: dict[object, float] = {}

    def wait(self, who: object, now: float, pace: float) -> float:
        """Give or keep the place of ``who`` (None: it has none), and return the seconds until it is
        to come back: ``pace`` for the first."""
        ahead = 0
        if who is not None:
            self._drop_dead(now)
            if len(self.kept) >= MAX_WAITING and who not in self.kept:
                self.kept = {each: end for each, end in self.kept.items() if now < end}
            if len(self.kept) < MAX_WAITING or who in self.kept:
                self.kept[who] = now + PLACE_KEPT
            places = islice(self.kept, int(LONGEST_RETURN / FIRST_RETURN))
            ahead = next((place for place, each in enumerate(places) if each == who), MAX_WAITING)
        return min(pace * (ahead + 1), LONGEST_RETURN)

    def is_first(self, who: object, now: float) -> bool:
        """True when nobody who still waits came before ``who``."""
        self._drop_dead(now)
        return not self.kept or next(iter(self.kept)) == who

    def leave(self, who: object) -> None:
        """Give up a place, if there is one."""
        self.kept.pop(who, None)

    def _drop_dead(self, now: float) -> None:
        kept = self.kept
        while kept:
            first = next(iter(kept))
            if now < kept[first]:
                return
            del kept[first]

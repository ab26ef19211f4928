"""Moments in named time zones, kept without the rules of the zone.

Rules this module keeps:

- A server never asks for the rules of a zone: another machine may have others, or none. It keeps a
  moment with the offset that its sender found, and the name of its zone as that of a fixed
  `timezone`. So moments are compared, sorted and found by their offsets, the same way in every
  process that does a write again, and as fast as others.
- A client makes of it a moment of a `ZoneInfo`, where its machine knows the zone. Elsewhere it gets
  the moment with a `Zone` of its own, which is written back exactly as it came.
- What another moment's offset would be takes the rules, so no wrong one is given: what was
  moved to another time has no offset before a client with the rules has read and stored it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Moment = TypeVar("Moment", datetime, time)

ZONES_CACHED = 1024
"""Zones that a process remembers; there are some 600."""


class ZoneName(str):
    """The name of a zone, where it is that of a fixed offset."""

    __slots__ = ()


class Zone(tzinfo):
    """The zone of one moment: its name ``key`` (str), and the offset (timedelta; None: not known)
    at ``wall`` (datetime without zone), which is None for a time without a date."""

    __slots__ = ("key", "offset", "wall")

    def __init__(self, key: str, offset: timedelta | None, wall: datetime | None) -> None:
        self.key = key
        self.offset = offset
        self.wall = wall

    def fits(self, moment: datetime | None) -> bool:
        """True for the moment that it was made for."""
        return (moment if moment is None else moment.replace(tzinfo=None)) == self.wall

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """The offset at the one moment. Raises ValueError for another one."""
        if not self.fits(moment):
            raise ValueError(
                f"the offset of {self.key!r} at another time is not known here: "
                "that takes the rules of the time zone (on a client, the package tzdata)"
            )
        return self.offset

    def dst(self, moment: datetime | None) -> None:
        """None: it is not known."""
        return

    def tzname(self, moment: datetime | None) -> str:
        """The name of the zone, since what it is called in summer is not known."""
        return self.key

    def __repr__(self) -> str:
        return f"Zone({self.key!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Zone, (self.key, self.offset, self.wall))


def kept(moment: Moment, key: str) -> Moment:
    """A moment, with or without an offset, as one in the zone of that name."""
    offset = moment.utcoffset()
    if offset is None:
        return moment.replace(tzinfo=Zone(key, None, _wall(moment)))
    return moment.replace(tzinfo=_fixed(offset, key))


@lru_cache(ZONES_CACHED)
def _fixed(offset: timedelta, key: str) -> timezone:
    return timezone(offset, ZoneName(key))


def _wall(moment: datetime | time) -> datetime | None:
    return moment.replace(tzinfo=None, fold=0) if isinstance(moment, datetime) else None


def name_of(zone: tzinfo | None) -> str | None:
    """The name that a zone has on the wire, if it has one."""
    if type(zone) is timezone:
        name = zone.tzname(None)
        return str(name) if type(name) is ZoneName else None
    key = getattr(zone, "key", None)
    return key if isinstance(key, str) else None


def settled(moment: Moment) -> Moment:
    """The moment itself, or without an offset if it was moved away from where that is known."""
    zone = moment.tzinfo
    if type(zone) is not Zone or zone.fits(moment if isinstance(moment, datetime) else None):
        return moment
    return kept(moment.replace(tzinfo=None), zone.key)


def made(moment: Moment) -> Moment:
    """What was kept, as a moment of its ZoneInfo if this machine knows the zone, else of a Zone."""
    key = name_of(moment.tzinfo)
    if key is None:
        return moment
    zone = _zone_info(key) or Zone(key, moment.utcoffset(), _wall(moment))
    return moment.replace(tzinfo=zone)


@lru_cache(ZONES_CACHED)
def _zone_info(key: str) -> tzinfo | None:
    from zoneinfo import ZoneInfo  # paid for only where named zones are read

    try:
        return ZoneInfo(key)
    except Exception as error:  # a name may lead anywhere in the file system
        why = f"{type(error).__name__}: {error}"
        logger.warning("the time zone %r is not known on this machine (%s)", key, why)
        return None


def computed(call: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operator that may take kept moments: two of one zone by their clocks, as Python does."""

    def compute(left: Any, right: Any, /) -> Any:
        if isinstance(left, datetime) and isinstance(right, datetime):
            key = name_of(left.tzinfo)
            if key is not None and key == name_of(right.tzinfo):
                left, right = left.replace(tzinfo=None), right.replace(tzinfo=None)
        result = call(left, right)
        if isinstance(result, datetime):
            key = name_of(result.tzinfo)
            bare = result.replace(tzinfo=None)
            moved = left if isinstance(left, datetime) else right
            if key is not None and bare != moved.replace(tzinfo=None):
                return kept(bare, key)
        return result

    return compute

"""What tells that a descriptor can be read: `epoll` where there is one, otherwise `selectors`.

Both have the same few functions, those that the loop of a server needs.
"""

from __future__ import annotations

import os
import select
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

Events = list[tuple[int, int]]
"""Descriptors that can be read, each with what the system says of it."""


class Poller(Protocol):
    """Watches descriptors."""

    poll: Callable[[float], Events]
    """Wait for so many seconds at most, and return what can be read by then."""

    def watch(self, fd: int) -> None:
        """Tell of a descriptor from now on."""

    def pause(self, fd: int) -> None:
        """Tell nothing of a descriptor that is watched, until it is resumed."""

    def resume(self, fd: int) -> None:
        """Tell of a descriptor again that was paused."""

    def forget(self, fd: int) -> None:
        """Watch a descriptor no more, which may be closed already."""

    def close(self) -> None:
        """Let go of what the system has for this."""


class EpollPoller:
    """With `epoll`, of Linux."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # The function of the system itself: one around it would be a call more in every round.
        self.poll: Callable[[float], Events] = self._epoll.poll

    def watch(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN)

    def pause(self, fd: int) -> None:
        self._epoll.modify(fd, 0)

    def resume(self, fd: int) -> None:
        self._epoll.modify(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        with suppress(OSError):
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._epoll.close()


class SelectorPoller:
    """With the best that Python's `selectors` finds: kqueue on macOS, poll elsewhere."""

    def __init__(self) -> None:
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.poll: Callable[[float], Events] = self._poll

    def _poll(self, seconds: float) -> Events:
        return [(key.fd, events) for key, events in self._selector.select(seconds)]

    def watch(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ)

    def pause(self, fd: int) -> None:
        self._selector.unregister(fd)

    def resume(self, fd: int) -> None:
        self.watch(fd)

    def forget(self, fd: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(fd)

    def close(self) -> None:
        self._selector.close()


def new_poller() -> Poller:
    """The faster one of those that this system has."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()


def _sleep_shortly() -> None:
    time.sleep(0)


give_way: Callable[[], None] = getattr(os, "sched_yield", _sleep_shortly)
"""Let others have the processor for a moment."""

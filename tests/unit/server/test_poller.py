"""What tells a server that something can be read: the same with epoll and without."""

from __future__ import annotations

import os
import select
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from pyzdb.server.poller import EpollPoller, Poller, SelectorPoller, give_way, new_poller

LIMIT = 30.0
"""Seconds that a test waits for what must happen."""


class PollPoller(SelectorPoller):
    """As where there is no epoll."""

    def __init__(self) -> None:
        super().__init__()
        self._selector.close()
        self._selector = selectors.PollSelector()


KINDS = [PollPoller, SelectorPoller, *([EpollPoller] if hasattr(select, "epoll") else [])]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def events(request: pytest.FixtureRequest) -> Iterator[Poller]:
    kind: Callable[[], Poller] = request.param
    with closing(kind()) as poller:
        yield poller


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def told(events: Poller, seconds: float = 0) -> list[int]:
    return [fd for fd, _ in events.poll(seconds)]


def test_what_can_be_read_is_told_until_it_was(
    events: Poller, ends: tuple[socket.socket, socket.socket]
) -> None:
    reading, writing = ends
    events.watch(reading.fileno())
    assert told(events) == []
    writing.send(b"x")
    assert told(events, LIMIT) == told(events) == [reading.fileno()]
    reading.recv(1)
    assert told(events) == []


def test_nothing_is_told_of_what_is_paused(
    events: Poller, ends: tuple[socket.socket, socket.socket]
) -> None:
    reading, writing = ends
    events.watch(reading.fileno())
    writing.send(b"x")
    events.pause(reading.fileno())
    assert told(events) == []
    events.resume(reading.fileno())
    assert told(events, LIMIT) == [reading.fileno()]


def test_a_descriptor_that_was_closed_is_forgotten_and_its_number_watched_anew(
    events: Poller,
) -> None:
    reading, writing = os.pipe()
    events.watch(reading)
    os.close(reading)
    os.close(writing)
    events.forget(reading)
    events.forget(reading)
    again, writing = os.pipe()
    assert again == reading
    events.watch(again)
    os.close(writing)
    assert told(events, LIMIT) == [again]
    events.forget(again)
    os.close(again)
    assert told(events) == []


def test_epoll_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    with closing(new_poller()) as without:
        assert type(without) is SelectorPoller
    monkeypatch.undo()
    with closing(new_poller()) as poller:
        assert (type(poller) is EpollPoller) == hasattr(select, "epoll")


def test_giving_way_returns() -> None:
    give_way()

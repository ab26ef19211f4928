"""What ZeroMQ, the disk and JSON allow: the same transport and nothing else.

The bare queue is the topology of pyzdb's server at its barest: ROUTER and DEALER joined by a thread
that is in `zmq.proxy`, and one REP socket behind it that answers each message with itself. The
synced one writes each message to a file and syncs it before it answers; the pooled one does so once
for all messages that have come, in a pool of REP sockets as pyzdb's.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any

import msgspec
import zmq

from benchmarks.measuring import Setup
from benchmarks.processes import Work, repeat
from pyzdb.server.app import POOL
from pyzdb.storage.disk import ZERO_FILL, Disk
from pyzdb.transport.sockets import Socket, readable, send

BACK_END = "inproc://back"

ROOM = 16 * 1024 * 1024
"""Bytes that the file has before it is used, as a part of pyzdb's journal has: a write into them
changes no length, so its sync is quicker."""

MESSAGE = b'{"version":2,"mode":"read","index":["l",3],"client":"user@host:12345-0123456789abcdef"}'
"""As long as pyzdb's message for the same read."""


@contextmanager
def bare_queue() -> Iterator[str]:
    """Answer every message with itself; the context is the address."""
    with _queue(_answer) as address:
        yield address


@contextmanager
def synced_queue(setup: Setup) -> Iterator[str]:
    """Write every message to a file that is synced before it is answered with itself."""
    with _synced_file(setup) as save, _queue(partial(_answer, save=save)) as address:
        yield address


@contextmanager
def pooled_queue(setup: Setup) -> Iterator[str]:
    """The same with one write and one sync for all messages that have come meanwhile."""
    with _synced_file(setup) as save, _queue(partial(_answer_together, save), POOL) as address:
        yield address


@contextmanager
def _synced_file(setup: Setup) -> Iterator[Callable[[bytes], None]]:
    """A function that writes to a file and syncs it."""
    descriptor = os.open(setup.new_folder() / "synced", os.O_RDWR | os.O_CREAT)
    for offset in range(0, ROOM, ZERO_FILL):
        Disk().allocate(descriptor, offset, ZERO_FILL)
    os.fsync(descriptor)
    end = 0

    def save(message: bytes) -> None:
        nonlocal end
        end += os.pwrite(descriptor, message, end)
        os.fdatasync(descriptor)

    try:
        yield save
    finally:
        os.close(descriptor)


@contextmanager
def _queue(answer: Callable[[list[Socket]], None], pool: int = 1) -> Iterator[str]:
    """A queue and ``pool`` REP sockets behind it, for which ``answer`` is called in a thread."""
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.bind(BACK_END)
    sockets = [context.socket(zmq.REP) for _ in range(pool)]
    for socket in sockets:
        socket.connect(BACK_END)
    threads = [
        Thread(target=_until_the_end, args=(lambda: zmq.proxy(router, dealer), [router, dealer])),
        Thread(target=_until_the_end, args=(lambda: answer(sockets), sockets)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        context.term()
        for thread in threads:
            thread.join()


def _until_the_end(work: Callable[[], object], sockets: list[Socket]) -> None:
    try:
        work()
    except zmq.ContextTerminated:
        pass
    finally:
        for each in sockets:
            each.close(linger=0)


def _answer(sockets: list[Socket], save: Callable[[bytes], None] | None = None) -> None:
    [socket] = sockets
    while True:
        message = socket.recv()
        if save is not None:
            save(message)
        socket.send(message)


def _answer_together(save: Callable[[bytes], None], sockets: list[Socket]) -> None:
    by_fd = {int(socket.get(zmq.FD)): socket for socket in sockets}
    ready = set(sockets)
    with select.epoll() as events:
        for fd in by_fd:
            events.register(fd, select.EPOLLIN)
        while True:
            ready.update(by_fd[fd] for fd, _ in events.poll(0 if ready else None))
            came = []
            for socket in ready:
                with suppress(zmq.Again):
                    came.append((socket, socket.recv(zmq.NOBLOCK)))
            if came:
                save(b"".join(message for _, message in came))
            for socket, message in came:
                send(socket, message)
            ready = set(readable([socket for socket, _ in came]))


@contextmanager
def _asking(address: str) -> Iterator[Socket]:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(address)
        yield socket


@contextmanager
def echo_client(address: str) -> Iterator[Work]:
    """A client of the bare queue."""
    with _asking(address) as socket:

        def ask() -> None:
            socket.send(MESSAGE)
            socket.recv()

        yield repeat(ask)


@contextmanager
def json_server() -> Iterator[str]:
    """Decode what comes and keep it; an empty message asks for it. The context is the address."""
    context = zmq.Context()
    socket = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def answer() -> None:
        value: Any = None
        while True:
            message = socket.recv()
            if message:
                value = msgspec.json.decode(message)
                socket.send(b"")
            else:
                socket.send(msgspec.json.encode(value))

    thread = Thread(target=_until_the_end, args=(answer, [socket]))
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        context.term()
        thread.join()


@contextmanager
def json_client(address: str) -> Iterator[Callable[[Any], Any]]:
    """A client of `json_server`: a function that stores a value and returns it read back."""
    with _asking(address) as socket:

        def store_and_read(value: Any) -> Any:
            socket.send(msgspec.json.encode(value))
            socket.recv()
            socket.send(b"")
            return msgspec.json.decode(socket.recv())

        yield store_and_read

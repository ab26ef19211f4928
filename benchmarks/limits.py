"""What ZeroMQ, the disk and JSON allow: the same transport and nothing else.

The bare queue is the topology of pyzdb's server (ROUTER and DEALER joined by a thread that is in
`zmq.proxy`, REP sockets behind it that one thread polls) and answers each message with itself.
The synced one writes what came in one round to a file, syncs it, and only then answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import msgspec
import zmq

from benchmarks.measuring import Setup
from benchmarks.processes import Work, repeat
from pyzdb.server.service import POOL
from pyzdb.storage.disk import ZERO_FILL, Disk

BACK_END = "inproc://back"

ROOM = 16 * 1024 * 1024
"""Bytes that the file has before it is used, as a part of pyzdb's journal has: a write into them
changes no length, so its sync is quicker."""

MESSAGE = b'{"version":2,"mode":"read","index":["l",3],"client":"user@host:12345-0123456789abcdef"}'
"""As long as pyzdb's message for the same read."""


@contextmanager
def synced_queue(setup: Setup) -> Iterator[str]:
    """Write every message to a file that is synced before it is answered with itself."""
    descriptor = os.open(setup.new_folder() / "synced", os.O_RDWR | os.O_CREAT)
    for offset in range(0, ROOM, ZERO_FILL):
        Disk().allocate(descriptor, offset, ZERO_FILL)
    os.fsync(descriptor)
    end = 0

    def save(messages: list[bytes]) -> None:
        nonlocal end
        end += os.pwrite(descriptor, b"".join(messages), end)
        os.fdatasync(descriptor)

    with bare_queue(save) as address:
        yield address
    os.close(descriptor)


@contextmanager
def bare_queue(save: Callable[[list[bytes]], None] | None = None) -> Iterator[str]:
    """Answer every message with itself, after ``save`` if there is one; the context is the
    address."""
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.bind(BACK_END)
    answering = [context.socket(zmq.REP) for _ in range(POOL)]
    for each in answering:
        each.connect(BACK_END)
    threads = [
        Thread(target=_until_the_end, args=(lambda: zmq.proxy(router, dealer), [router, dealer])),
        Thread(target=_until_the_end, args=(lambda: _answer(answering, save), answering)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        context.term()
        for thread in threads:
            thread.join()


def _until_the_end(work: Callable[[], object], sockets: list[zmq.Socket[bytes]]) -> None:
    try:
        work()
    except zmq.ContextTerminated:
        pass
    finally:
        for each in sockets:
            each.close(linger=0)


def _answer(sockets: list[zmq.Socket[bytes]], save: Callable[[list[bytes]], None] | None) -> None:
    poller = zmq.Poller()
    for each in sockets:
        poller.register(each, zmq.POLLIN)
    while True:
        ready = [socket for socket, _ in poller.poll()]
        messages = [socket.recv() for socket in ready]
        if save is not None:
            save(messages)
        for socket, message in zip(ready, messages, strict=True):
            socket.send(message)


@contextmanager
def _asking(address: str) -> Iterator[zmq.Socket[bytes]]:
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

"""What ZeroMQ, the disk and JSON allow: the same transport and nothing else.

The bare queue is the topology of pyzdb's server at its barest: ROUTER and DEALER joined by a thread
that is in `zmq.proxy`, and one REP socket behind it that answers each message with itself. The
synced one writes each message to a file and syncs it before it answers.
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

    def save(message: bytes) -> None:
        nonlocal end
        end += os.pwrite(descriptor, message, end)
        os.fdatasync(descriptor)

    with bare_queue(save) as address:
        yield address
    os.close(descriptor)


@contextmanager
def bare_queue(save: Callable[[bytes], None] | None = None) -> Iterator[str]:
    """Answer every message with itself, after ``save`` if there is one; the context is the
    address."""
    context = zmq.Context()
    router, dealer, rep = [context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER, zmq.REP)]
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.bind(BACK_END)
    rep.connect(BACK_END)
    threads = [
        Thread(target=_until_the_end, args=(lambda: zmq.proxy(router, dealer), [router, dealer])),
        Thread(target=_until_the_end, args=(lambda: _answer(rep, save), [rep])),
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


def _answer(socket: zmq.Socket[bytes], save: Callable[[bytes], None] | None) -> None:
    while True:
        message = socket.recv()
        if save is not None:
            save(message)
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

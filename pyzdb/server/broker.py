"""The ROUTER-DEALER queue between clients and the REP sockets of a server.

It is a thread of the server's process that forwards messages within ZeroMQ, without Python: it
needs no turn of the interpreter lock, and REP sockets in the same process need no network.
"""

from __future__ import annotations

import threading

import zmq

from pyzdb.errors import AddressError
from pyzdb.server.door import Door
from pyzdb.transport.sockets import Context, Socket, bind

LINGER = 500
"""Milliseconds that the end of a server waits for its last answers to leave."""

INSIDE = "inproc:"
"""How an address within the process begins, where no client comes to."""


class Broker:
    """A queue from ``front`` to ``back``, which ends with its context.

    Raises AddressError when an address cannot be bound.
    """

    def __init__(self, context: Context, front: str, back: str) -> None:
        self._front = bound(context, zmq.ROUTER, front)
        try:
            self._back = bound(context, zmq.DEALER, back)
        except BaseException:
            self._front.close(linger=0)
            raise
        self._thread = threading.Thread(target=self._forward, name=f"queue {front}", daemon=True)
        self._thread.start()

    def _forward(self) -> None:
        try:
            zmq.proxy(self._front, self._back)
        except zmq.ContextTerminated:
            pass  # how it ends
        finally:
            self._front.close()
            self._back.close(linger=0)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()


def bound(context: Context, kind: int, uri: str) -> Socket:
    """A socket that listens on an address. Raises AddressError."""
    socket = context.socket(kind)
    socket.linger = LINGER
    if not uri.startswith(INSIDE):
        Door(context, socket, uri)
    try:
        bind(socket, uri)
    except AddressError:
        socket.close()
        raise
    return socket

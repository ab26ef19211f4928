"""The ROUTER-DEALER queue between clients and the REP sockets of a server.

It is a thread of the server's process that forwards messages within ZeroMQ, without Python: it
needs no turn of the interpreter lock, and REP sockets in the same process need no network.
"""

from __future__ import annotations

import errno
import threading

import zmq

from pyzdb.addresses import to_bind
from pyzdb.errors import AddressError

LINGER = 500
"""Milliseconds that the end of a server waits for its last answers to leave."""


class Queue:
    """A queue from ``front`` to ``back``, which ends with its context.

    Raises AddressError when an address cannot be bound.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], front: str, back: str) -> None:
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


def bound(context: zmq.Context[zmq.Socket[bytes]], kind: int, uri: str) -> zmq.Socket[bytes]:
    """A socket that listens on an address. Raises AddressError."""
    socket = context.socket(kind)
    socket.linger = LINGER
    try:
        socket.bind(to_bind(uri))
    except zmq.ZMQError as error:
        socket.close()
        reason = zmq.strerror(error.errno or 0)
        if error.errno == errno.EADDRINUSE:
            reason = "another server listens there; stop it, or give this one other addresses"
        raise AddressError(f"cannot listen on {uri}: {reason}") from error
    return socket

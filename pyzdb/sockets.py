"""ZeroMQ sockets, as a server and its clients both use them."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

import zmq
import zmq.backend

from pyzdb.addresses import to_bind, to_connect
from pyzdb.errors import AddressError

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

send = zmq.backend.Socket.send
"""Send one message (bytes) on a socket. The `send` of the socket itself is a function around this
one, for options that no message here has; where the processor's caches are shared with others, it
takes a fourth of the time of a send."""

receive = zmq.backend.Socket.recv
"""Receive one message part from a socket; a name of its own, since Python looks long for an
attribute of a socket, whose class has its own way to find them."""

_READABLE = int(zmq.POLLIN)
"""As a plain number: the operators of an enumeration cost more than the call that it is for."""


def readable(sockets: Iterable[Socket]) -> list[Socket]:
    """Those of some sockets that have a message now."""
    found: list[Any] = zmq.zmq_poll([(socket, _READABLE) for socket in sockets], 0)
    return [socket for socket, _ in found]


def bind(socket: Socket, uri: str) -> None:
    """Listen on an address. Raises AddressError."""
    try:
        socket.bind(to_bind(uri))
    except zmq.ZMQError as error:
        reason = _reason(error)
        if error.errno == errno.EADDRINUSE:
            reason = "another server listens there; stop it, or give this one other addresses"
        raise AddressError(f"cannot listen on {uri}: {reason}") from None


def connect(socket: Socket, uri: str) -> None:
    """Connect to an address, now or when somebody listens there. Raises AddressError."""
    try:
        socket.connect(to_connect(uri))
    except zmq.ZMQError as error:
        raise AddressError(f"cannot connect to {uri}: {_reason(error)}") from None


def _reason(error: zmq.ZMQError) -> str:
    return zmq.strerror(error.errno or 0)

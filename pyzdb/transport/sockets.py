"""ZeroMQ sockets, as a server and its clients both use them.

Rules this module keeps:

- Both ends of every connection check that the other is there. A connection that went silent without
  being closed (a cable, a suspended machine, a firewall that forgot it) is closed.
- A server takes neither the address of another one nor the place of a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Any

import zmq
import zmq.backend

from pyzdb.errors import AddressError, NoSocket
from pyzdb.transport.addresses import is_ipv6, split, to_bind, to_connect

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

HEARTBEAT = 10_000
"""Milliseconds between two heartbeats. ZeroMQ's own threads send and answer them: 5,000 clients
cost a server 500 of them a second."""

HEARTBEAT_PATIENCE = 60_000
"""Milliseconds without an answer after which a connection is closed. A single large message may
take as long, and the answer comes behind it."""

KEEPALIVE = 10
"""Seconds between two probes of TCP itself. They do not queue behind messages, so they find a
machine that is gone even while a message is on its way."""

KEEPALIVE_COUNT = 3
"""Probes of TCP without an answer after which a connection is closed."""

CONTEXT_DESCRIPTORS = 8
"""Descriptors that the threads of a context and its first socket take: six, and some to spare."""

BACKLOG = 4096
"""Clients that may connect at the same moment, as far as the system allows."""

send = zmq.backend.Socket.send
"""Send one message (bytes) on a socket. The `send` of the socket itself is a Python function around
this one, for options that are not used here. With busy caches it is a quarter of a send's time."""

receive = zmq.backend.Socket.recv
"""Receive one part of a message from a socket. As a name of the module it is found at once: the
class of sockets looks up its attributes in a slow way of its own."""

_READABLE = int(zmq.POLLIN)
"""As a plain number: the operators of an enumeration cost more than the call that it is for."""


_WRITABLE = int(zmq.POLLOUT)

AT_ONCE = int(zmq.NOBLOCK)


def send_within(socket: Socket, message: bytes, seconds: float) -> None:
    """Send a message as soon as it can go. Raises zmq.Again after so many seconds; a signal does
    not prolong them, as it does the timeouts of ZeroMQ, which begin anew."""
    try:
        send(socket, message, AT_ONCE)
    except zmq.Again:
        zmq.zmq_poll([(socket, _WRITABLE)], int(seconds * 1000))
        send(socket, message, AT_ONCE)


def receive_within(socket: Socket, seconds: float) -> bytes:
    """The next message. Raises zmq.Again after so many seconds, as `send_within` does."""
    end = time.monotonic() + seconds
    while True:
        zmq.zmq_poll([(socket, _READABLE)], int(seconds * 1000))
        try:
            return receive(socket, AT_ONCE)
        except zmq.Again:  # also after an answer to what was asked before, which is dropped
            seconds = end - time.monotonic()
            if seconds <= 0:
                raise


def readable(sockets: Iterable[Socket]) -> list[Socket]:
    """Those of some sockets that have a message now."""
    found: list[Any] = zmq.zmq_poll([(socket, _READABLE) for socket in sockets], 0)
    return [socket for socket, _ in found]


def new_context() -> Context:
    """A context for as many sockets as the process may have: each thread needs its own.

    Raises NoSocket.
    """
    require(CONTEXT_DESCRIPTORS)
    context: Context = zmq.Context()
    context.max_sockets = context.get(zmq.SOCKET_LIMIT)
    return context


def require(descriptors: int) -> None:
    """Raise NoSocket when this process cannot have so many more.

    ZeroMQ ends the process when a context that begins finds no descriptor.
    """
    held = []
    try:
        for _ in range(descriptors):
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise NoSocket(
            f"there is no room in this process for connections, which take {descriptors} "
            f"descriptors: {error.strerror} (`ulimit -n`)"
        ) from None
    finally:
        for each in held:
            os.close(each)


def check(uri: str) -> None:
    """Raise AddressError for what cannot be connected to, whoever listens."""
    transport = split(uri)[0]
    if transport not in ("tcp", "inproc") and not zmq.has(transport):
        raise AddressError(f"cannot connect to {uri}: {zmq.strerror(errno.EPROTONOSUPPORT)}")


def bind(socket: Socket, uri: str) -> None:
    """Listen on an address. Raises AddressError."""
    place = to_bind(uri)
    _watch(socket)
    socket.backlog = BACKLOG
    socket.ipv6 = is_ipv6(place)
    try:
        with _not_taken(place):
            socket.bind(place)
    except zmq.ZMQError as error:
        raise AddressError(f"cannot listen on {uri}: {_reason(error.errno)}") from None
    except OSError as error:
        raise AddressError(f"cannot listen on {uri}: {_reason(error.errno)}") from None


def connect(socket: Socket, uri: str, ipv6: bool = False) -> None:
    """Connect to an address, now or when somebody listens there. Raises AddressError.

    ``ipv6`` looks a name up as one of IPv6.
    """
    place = to_connect(uri, ipv6=ipv6)
    _watch(socket)
    socket.ipv6 = ipv6 or is_ipv6(place)
    try:
        socket.connect(place)
    except zmq.ZMQError as error:
        raise AddressError(f"cannot connect to {uri}: {_reason(error.errno)}") from None


def _watch(socket: Socket) -> None:
    """Have ZeroMQ and TCP check the other ends of a socket."""
    socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT)
    socket.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_PATIENCE)
    socket.set(zmq.HEARTBEAT_TTL, HEARTBEAT_PATIENCE)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE)
    socket.set(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT)


@contextlib.contextmanager
def _not_taken(place: str) -> Iterator[None]:
    """Hold an address of ipc that nobody listens on, while it is bound. Raises OSError.

    ZeroMQ removes whatever is at the path before it listens there.
    """
    transport, path, _ = split(place)
    if transport != "ipc" or path == "*" or path.startswith("@"):
        yield
        return
    # Only a server with such an address needs it, and Windows, where clients run, does not have it.
    import fcntl

    # The folder is held, so that of two servers that start at once one finds the other.
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _look(path)
        yield
    finally:
        os.close(folder)


def _look(path: str) -> None:
    """Raise OSError unless a path is free, or holds the socket of a server that has ended."""
    # Only a server with such an address needs it; the import of a client is measured.
    import socket

    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, path)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # so many are about to connect that this one would have to wait
    raise OSError(errno.EADDRINUSE, path)


_REASONS = {
    errno.EADDRINUSE: "another server listens there; stop it, or give this one other addresses",
    errno.EEXIST: "there is a file that is not a socket; it stays as it is",
}


def _reason(number: int | None) -> str:
    return _REASONS.get(number or 0) or zmq.strerror(number or 0)

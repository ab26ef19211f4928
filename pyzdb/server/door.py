"""Who is let in at an address: a thread that hears of each connection, and of no message.

Rules this module keeps:

- Some descriptors stay free for the files of the database, however many clients come.
- Whoever comes when the others are used up is sent away. On Linux the system then drops what
  further ones send, until there is room again: were they left waiting, ZeroMQ would try to let
  them in again and again, with a whole processor. Elsewhere each of them is sent away.
- Those who are in are served.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from pyzdb.transport.sockets import Context, Socket

try:
    import resource
except ImportError:  # a system without limits of this kind
    resource = None  # type: ignore[assignment]  # Windows has no such module

RESERVE = 64
"""Descriptors that are kept from clients, at most an eighth of all: for parts of the journal and
saves, and for clients that come before the door is closed."""

MOST_DESCRIPTORS = 1 << 20
"""What a server asks for at most: Linux' own limit, where it has not been raised."""

LOOK = 500
"""Milliseconds between two looks whether a descriptor is free again."""

SILENCE = 60.0
"""Seconds after which the log says again that no more clients can come in."""

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
"""Options of Linux, from its asm-generic/socket.h. Python's module does not name them, so it cannot
be asked for them, and elsewhere the numbers mean something else."""

HAS_FILTERS = sys.platform == "linux"

_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""A filter of one step: of what comes, pass on 0 bytes."""

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_HEARD = (
    zmq.EVENT_LISTENING
    | zmq.EVENT_ACCEPTED
    | zmq.EVENT_ACCEPT_FAILED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_MONITOR_STOPPED
)

logger = logging.getLogger(__name__)


def raise_limit() -> None:
    """Let this process have as many descriptors as it may: each client needs one."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    while soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return
        except (ValueError, OSError):  # macOS says "unlimited" and does not mean it
            most //= 2


def limit() -> int:
    """Descriptors that this process may have."""
    if resource is None:
        return MOST_DESCRIPTORS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


class Door:
    """Watches a socket that is going to listen, until that is closed."""

    def __init__(self, context: Context, listening: Socket, uri: str) -> None:
        self._uri = uri
        self._is_open = True
        self._listener = -1
        self._limit = limit()
        self._for_clients = self._limit - min(RESERVE, self._limit // 8)
        self._warned = -SILENCE
        place = f"inproc://door-{id(self):x}"
        listening.monitor(place, _HEARD)
        self._events = context.socket(zmq.PAIR)
        self._events.connect(place)
        threading.Thread(target=self._watch, name=f"door {uri}", daemon=True).start()

    def _watch(self) -> None:
        try:
            while True:
                if self._events.poll(None if self._is_open else LOOK):
                    heard = parse_monitor_message(self._events.recv_multipart())
                    if heard["event"] == zmq.EVENT_MONITOR_STOPPED:
                        return
                    self._hear(heard["event"], heard["value"])
                elif self._has_room():
                    self._open()
        except zmq.ContextTerminated:
            pass  # how a server ends
        finally:
            self._events.close(linger=0)

    def _hear(self, event: int, value: int) -> None:
        if event == zmq.EVENT_LISTENING:
            self._listener = value
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            logger.info("refused a connection to %s: it speaks another protocol", self._uri)
        elif event == zmq.EVENT_ACCEPT_FAILED and value in _FULL:
            self._close()
        elif event == zmq.EVENT_ACCEPTED and value >= self._for_clients:
            self._close()
            _set(value, _send_away)

    def _close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if HAS_FILTERS:
            _set(self._listener, _drop_what_comes)
        now = time.monotonic()
        if now - self._warned >= SILENCE:
            self._warned = now
            logger.warning(
                "no room for more clients at %s: this process may have %d files and connections "
                "(`ulimit -n`); others wait until some have left",
                self._uri,
                self._limit,
            )

    def _open(self) -> None:
        self._is_open = True
        if HAS_FILTERS:
            _set(self._listener, _take_what_comes)

    def _has_room(self) -> bool:
        # The system gives the lowest number that is free to each new descriptor.
        try:
            lowest = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return False
        os.close(lowest)
        return lowest < self._for_clients


def _set(number: int, change: Callable[[socket.socket], None]) -> None:
    """Change a socket that belongs to ZeroMQ, and goes on to, if it is still open."""
    with contextlib.suppress(OSError):
        lent = socket.socket(fileno=number)
        try:
            change(lent)
        finally:
            lent.detach()


def _send_away(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_RDWR)


def _drop_what_comes(listener: socket.socket) -> None:
    program = struct.pack("HL", 1, ctypes.addressof(_NOTHING))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _take_what_comes(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)

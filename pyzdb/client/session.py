"""One client as the server sees it: an id, its numbers, and the sockets that it asks by.

Rules this module keeps:

- A session has one request under way. It sends it again when there is silence; the number in it
  makes a write happen once, however often it arrives.
- REQ_RELAXED and REQ_CORRELATE keep a socket usable after a lost answer, and an answer to an
  earlier request from being taken for this one's.
- Nothing waits for ever: after ``timeout`` seconds of silence ServerTimeout says which address
  did not answer. Before, a socket that stays silent is replaced by a new one: the connection below
  it may be dead without an end of it that anybody was told.
- Where no read-only server answers, reads go to the server that writes, whose tree is the newest.
- An error that is raised is held by no name of a frame that it leads back to: such a ring is found
  by nobody, as Python's collector does not watch a reply.
- A lock that may have been granted to who does not have it, whatever came between, is given back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import weakref
from typing import Any, Protocol, cast

import zmq

from pyzdb.client.holding import Holding, whose
from pyzdb.client.identity import who
from pyzdb.errors import (
    AddressError,
    ConnectionClosed,
    LockError,
    LockTimeout,
    NoSocket,
    OutcomeUnknown,
    PyzdbError,
    ServerTimeout,
)
from pyzdb.protocol.leases import lease_of
from pyzdb.protocol.messages import Request, WireReply, decode_reply, encode_request
from pyzdb.transport.addresses import is_name, to_connect
from pyzdb.transport.sockets import (
    AT_ONCE,
    Context,
    Socket,
    connect,
    receive,
    receive_within,
    send_within,
)

FIRST_RESEND = 0.25
"""Seconds of silence after which a request is sent again: far more than an answer takes, and
little enough for a restarted server to be found at once. Each further one waits twice as long."""

LONGEST_RESEND = 2.0
"""Seconds between two sends at most."""

NEW_SOCKET = 3.0
"""Seconds of silence after which a socket is replaced, at most half the timeout; each further one
is given twice as long: a server that is only busy need not greet all of its clients anew."""

READER_PATIENCE = 2.0
"""Seconds of silence, at most half the timeout, after which a read goes to the server that writes:
longer than a read-only server takes to start again."""

PROBE_INTERVAL = 1.0
"""Seconds between two questions whether a read-only server answers again, for which no read
waits."""

UPLOAD_RATE = 5_000_000
"""Bytes a second that even a busy server takes in: a large request is not sent again before."""

LARGE = int(UPLOAD_RATE * FIRST_RESEND)
"""Bytes of a request from which on that is later than the first time to send it again."""

FIRST_RETURN = 0.002
"""Seconds until a request that has to wait comes back; each further time takes half as long
again."""

LONGEST_RETURN = 0.1
"""Seconds between two tries of a request that has to wait, where the server does not say."""

BEHIND_PATIENCE = 1.0
"""Seconds that a read-only server may be behind what its client has seen until the writing server
is asked whether there is such a commit: far more than it takes to read it."""

RECONNECT_INTERVAL = 50
"""Milliseconds between two tries to reach a server that is away."""

CLOSING = 0.001
"""Seconds between two looks whether a thread has let go of its sockets."""

GOODBYE = 1.0
"""Seconds that a lock which cannot be used, or whose connection is closed, is given back for."""

_PROBE = encode_request(Request("read", 2, (), "__len__"))
"""What is asked of a server only to see whether it answers."""

_LEFT = "left behind"
"""The name of a socket that only has to send something yet, where those in use have an address."""


class Way(Protocol):
    """What a session asks of the connection that it belongs to: its addresses and ``timeout``,
    the newest commit ``seen``, the names that were reached by ``ipv6``, and whether it is
    ``closed``."""

    write_uri: str
    read_uri: str | None
    timeout: float
    seen: int
    ipv6: dict[str, bool]
    closed: bool

    def turn(self, is_away: bool) -> None:
        """Let reads go to the server that writes, or to those that only read again."""

    def tell(self, reason: str, seconds: float) -> None:
        """Say what a query waits for, and for how long by now."""


class Session:
    """One client for the server, and its sockets."""

    def __init__(self, connection: Way, context: Context, holder: Holding) -> None:
        # The connection itself would never be collected while a thread has its session.
        self._connection = weakref.proxy(connection)
        self._uri = connection.write_uri
        self._first_silence = min(FIRST_RESEND, connection.timeout)
        self._context = context
        self._sockets: dict[str, Socket] = {}
        self._probed: float | None = None
        self._thread = threading.get_ident()
        self._uses = 0
        self._id = f"{who()}:{os.getpid()}-{os.urandom(6).hex()}"
        self._number = 0
        self._since: int | None = None
        self._holder = holder
        self._has_reader = connection.read_uri is not None

    def do(self, request: Request, patience: float | None = None) -> Any:
        """Ask for what must happen once."""
        if self._since is None:
            self._since = self._hello()
        self._number += 1
        request.client, request.number, request.since = self._id, self._number, self._since
        return self.ask(request, patience=patience)

    def ask(self, request: Request, uri: str | None = None, patience: float | None = None) -> Any:
        """Return the result of a request, or raise its error.

        ``patience`` (seconds, default: the timeout of the connection) is how long to wait for
        the lock of another client.
        """
        holder = self._holder
        if holder.token is not None:
            holder.check()
            uri, request.token = holder.uri, holder.token
        elif uri is None:
            uri = self._uri
        message = encode_request(request)
        self._uses += 1
        try:
            reply = self._send(message, uri)
            if reply is None or reply.wait is not None or reply.error is not None:
                reply = self._insist(request, reply, uri, patience)
        except zmq.ZMQError as error:
            raise self._fault(error, uri) from error
        finally:
            self._uses -= 1
        if self._has_reader and reply.sequence > self._connection.seen:
            self._connection.seen = reply.sequence
        if reply.error is None:
            return reply.value
        failure, reply = reply.error, None
        try:
            raise failure
        finally:
            del failure

    def _send(self, message: bytes, uri: str, silence: float | None = None) -> WireReply | None:
        """The answer to a message; None after so many seconds of ``silence`` (more for a large
        one), in which it may have been done or not."""
        opened = self._sockets
        socket = opened.get(uri) or self._open(uri, opened)
        patience = silence or self._first_silence
        if len(message) > LARGE:
            patience = max(patience, min(len(message) / UPLOAD_RATE, self._connection.timeout))
        try:
            send_within(socket, message, patience)
            return decode_reply(receive_within(socket, patience))
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno != zmq.EFSM:
                raise
            # The connection broke in the middle of the request, which ZeroMQ dropped without a
            # word. What this socket sends next would lack its envelope.
            opened.pop(uri).close()
            return None

    def _insist(
        self, request: Request, reply: WireReply | None, uri: str, patience: float | None
    ) -> WireReply:
        """Send a request again, which met silence (None) or has to wait, until it is answered;
        an error may be an answer."""
        connection = self._connection
        began = heard = time.monotonic()
        silence = self._first_silence
        holder = self._holder
        if reply is None:
            heard -= silence
        sent_once = reply is not None  # each time that it was sent it was answered
        back = FIRST_RETURN
        trusted = min(NEW_SOCKET, connection.timeout / 2)
        renewal = heard + trusted
        while True:
            now = time.monotonic()
            if reply is None:
                if now - heard >= connection.timeout:
                    raise ServerTimeout(self._unanswered(uri, now - heard))
                connection.tell("silent", now - heard)
                silence = min(silence * 2, LONGEST_RESEND, connection.timeout - (now - heard))
                if uri == connection.read_uri != self._uri and request.token is None:
                    patience_left = heard + min(READER_PATIENCE, connection.timeout / 2) - now
                    if patience_left > 0:
                        silence = min(silence, patience_left)
                    else:
                        connection.turn(is_away=True)
                        uri, silence = self._uri, self._first_silence
                elif now >= renewal:
                    self._renew(uri)
                    if request.token is None or uri == self._uri:
                        trusted *= 2
                        renewal = now + trusted
                if request.token is not None:
                    uri = holder.address if uri == self._uri else self._uri
            elif reply.wait is not None:
                heard = now
                renewal = now + trusted
                limit = connection.timeout if patience is None else patience
                if reply.wait == "behind" and now - began >= BEHIND_PATIENCE:
                    self._look_back(request, reply, uri, now - began)
                pause = back
                if reply.wait == "locked":
                    if now - began >= limit:
                        raise LockTimeout(whose(reply, now - began))
                    if reply.lock is not None:
                        pause = max(0.0, min(reply.lock.back, began + limit - now))
                    request.client = self._id  # which keeps a place in the line
                connection.tell(reply.wait, now - began)
                request.ticket = reply.ticket
                time.sleep(pause)
                back = min(back * 1.5, LONGEST_RETURN)
            elif (
                type(reply.error) is OutcomeUnknown
                and sent_once
                and now - began < connection.timeout
            ):
                # It was sent once and is not done: this server only does not know the client.
                request.since = self._since = self._hello()
            elif type(reply.error) is LockError and uri == holder.address != self._uri:
                uri = self._uri  # what listens at an address that a tunnel hides is another server
            else:
                if request.token is not None:
                    holder.uri = uri
                return reply
            reply = self._send(encode_request(request), uri, silence)
            if reply is None:
                sent_once = False

    def _look_back(self, request: Request, reply: WireReply, uri: str, waited: float) -> None:
        """Find out whether a read-only server is only slow. Raises ServerTimeout at last."""
        connection = self._connection
        if waited >= connection.timeout:
            raise ServerTimeout(
                f"{uri} has been behind for {waited:.1f} s: it is at commit {reply.sequence}, and "
                f"this client has seen {request.at_least}"
            )
        # Where an older copy of the database was put back there is no such commit any more.
        connection.seen = request.at_least = min(connection.seen, self._hello())

    def _fault(self, error: zmq.ZMQError, uri: str) -> PyzdbError:
        """What a failure of ZeroMQ means to who asked."""
        if self._connection.closed:
            return ConnectionClosed(_closed_meanwhile(uri))
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return NoSocket(
                f"no socket can be opened for {uri}: too many are open in this process, one for "
                f"each thread that uses a connection (`ulimit -n` tells the limit)"
            )
        return NoSocket(f"the socket for {uri} failed: {error}")

    def _open(self, uri: str, opened: dict[str, Socket]) -> Socket:
        if self._connection.closed:
            raise ConnectionClosed(_closed_meanwhile(uri))
        socket = opened[uri] = self._context.socket(zmq.REQ)
        socket.linger = 0
        socket.set(zmq.REQ_RELAXED, 1)
        socket.set(zmq.REQ_CORRELATE, 1)
        # What is sent while the server is away would all arrive when it is back.
        socket.immediate = True
        socket.reconnect_ivl = RECONNECT_INTERVAL
        try:
            connect(socket, uri, self._connection.ipv6.get(uri, False))
        except AddressError:
            opened.pop(uri).close()
            raise
        return socket

    def _renew(self, uri: str) -> None:
        """Have another socket opened for an address that is silent.

        A name may stand for addresses of two kinds, and the server listen on one of them.
        """
        socket = self._sockets.pop(uri, None)
        if socket is not None:
            if is_name(uri):
                self._connection.ipv6[uri] = not socket.ipv6
            socket.close()

    def reader(self) -> str | None:
        """The address for reads, if a read-only server answers there by now; it is asked from time
        to time, and not waited for."""
        connection, uri = self._connection, cast(str, self._connection.read_uri)
        try:
            socket = self._sockets.get(uri) or self._open(uri, self._sockets)
            if self._probed is not None:
                with contextlib.suppress(zmq.Again):
                    receive(socket, AT_ONCE)
                    self._probed = None
                    connection.turn(is_away=False)
                    return uri
            now = time.monotonic()
            if self._probed is None or now - self._probed >= PROBE_INTERVAL:
                with contextlib.suppress(zmq.Again):  # its connection is not made yet
                    socket.send(_PROBE, AT_ONCE)
                    self._probed = now
        except zmq.ZMQError as error:
            raise self._fault(error, uri) from error
        return None

    def _hello(self) -> int:
        """The sequence number that the server is at."""
        sequence: int = self.ask(Request("hello", 2))["sequence"]
        return sequence

    def lock(self, timeout: float | None, lease: float | None) -> None:
        holder = self._holder
        if holder.token is not None:
            raise LockError("this thread holds the lock already")
        if lease is not None:
            lease = lease_of(lease)  # JSON would carry an infinite one as none
        before = self._number
        try:
            granted = self.do(Request("lock", 2, lease=lease), patience=timeout)
            holder.use_at(self._lock_address(granted["uri"]), self._uri)
            holder.take(granted["token"])
        except BaseException:
            holder.give_up()
            if self._number != before:
                self._give_back()
            raise

    def _lock_address(self, named: str) -> str:
        """Where a lock is used: where the server says, if a socket can be had for it."""
        try:
            address = to_connect(named, near=self._connection.write_uri)
            if address not in self._sockets:
                self._open(address, self._sockets)
        except (AddressError, zmq.ZMQError):
            return self._uri
        return address

    def unlock(self) -> None:
        holder = self._holder
        if holder.token is None:
            raise LockError(
                "this thread does not hold the lock: the one that took it gives it back"
            )
        holder.check()
        token = holder.token
        try:
            self.do(Request("unlock", 2))
        except LockError:
            raise
        except BaseException:
            self._give_back(token)
            raise
        finally:
            holder.give_up()

    def give_back_lock(self) -> None:
        """Give back the lock that a thread cannot use any more, as its sockets are closed."""
        token = self._holder.token
        if token is not None:
            self._holder.give_up()
            self._give_back(token)

    def _give_back(self, token: int | None = None) -> None:
        """Have the server free the lock of a token, or whatever it has granted to this client,
        which waits no more. What it asked for before and arrives late has an older number, and is
        refused."""
        self._number += 1
        request = Request("unlock", 2, client=self._id, number=self._number, token=token)
        request.since = self._since or 0
        message = encode_request(request)
        self._uses += 1
        try:
            if self._connection.closed or self._send(message, self._uri) is None:
                self._leave(message)
        except (PyzdbError, zmq.ZMQError):
            self._leave(message)
        finally:
            self._uses -= 1

    def _leave(self, message: bytes) -> None:
        """Send a message on a socket of its own, which is left behind when there is no answer
        soon: the message goes when the server is there again, as long as this process is."""
        was = self._sockets.pop(_LEFT, None)
        if was is not None:
            was.close()
        is_closed = self._connection.closed
        context: Context = zmq.Context() if is_closed else self._context
        with contextlib.suppress(PyzdbError, zmq.ZMQError):
            socket = context.socket(zmq.REQ)
            try:
                socket.linger = int(GOODBYE * 1000)
                connect(socket, self._uri, self._connection.ipv6.get(self._uri, False))
                socket.send(message)
                if not (socket.poll(socket.linger) or is_closed):
                    self._sockets[_LEFT] = socket
            finally:
                if self._sockets.get(_LEFT) is not socket:
                    socket.close()
        if is_closed:
            context.term()

    def _unanswered(self, uri: str, waited: float) -> str:
        start = "python server.py"
        if uri == self._connection.read_uri:
            start += " -ro"
        return f"{uri} did not answer for {waited:.1f} s; is a server there? `{start}` starts one"

    def close(self) -> None:
        """Close the sockets, when their thread does not wait for them any more.

        From here on it finds none; if it has found one before, it is about to hear of the end.
        """
        opened, self._sockets = self._sockets, {}
        while self._uses and self._thread != threading.get_ident():
            time.sleep(CLOSING)
        for socket in opened.values():
            socket.close()

    __del__ = close


def _closed_meanwhile(uri: str) -> str:
    return f"the connection to {uri} was closed meanwhile"

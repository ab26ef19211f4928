"""Drives a session (pyzdb/protocol/session.py) over sockets that block: sends, waits, looks.

Rules this module keeps:

- What happens next is decided by the session; here it is done, and told back with the time.
- REQ_RELAXED and REQ_CORRELATE keep a socket usable after a lost answer, and an answer to an
  earlier request from being taken for this one's.
- The usual case, a request that is answered at once, takes no generator.
- What fails in a step, Ctrl-C too, is thrown into the generator that asked for it: it may have a
  lock to give back. No name of a frame keeps it, as nobody finds the ring that this would be.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import weakref
from typing import Protocol, TypeVar

import zmq

from pyzdb.client.identity import who
from pyzdb.errors import AddressError, ConnectionClosed, NoSocket, PyzdbError
from pyzdb.paths import Value
from pyzdb.protocol.holding import Holding
from pyzdb.protocol.replies import WireReply, decode_reply
from pyzdb.protocol.requests import Request
from pyzdb.protocol.session import Session, Target
from pyzdb.protocol.steps import (
    Diagnose,
    Heard,
    Leave,
    Pause,
    Peek,
    Post,
    Reach,
    Renew,
    Send,
    Step,
    Steps,
    Tell,
    Turn,
)
from pyzdb.transport.addresses import is_name, split, to_connect
from pyzdb.transport.sockets import (
    AT_ONCE,
    Context,
    Socket,
    connect,
    receive,
    receive_within,
    send_within,
)

RECONNECT_INTERVAL = 50
"""Milliseconds between two tries to reach a server that is away."""

CLOSING = 0.001
"""Seconds between two looks whether a thread has let go of its sockets."""

GOODBYE = 1.0
"""Seconds that a lock which cannot be used, or whose connection is closed, is given back for."""

NAME_PATIENCE = 1.0
"""Seconds that a name is looked up for, to say why its server is silent: a resolver may itself
wait for longer than anybody waits for an error."""

_LEFT = "left behind"
"""The name of a socket that only has to send something yet, where those in use have an address."""

T = TypeVar("T")


class Way(Protocol):
    """What a driver asks of the connection that it belongs to: the names that were reached by
    ``ipv6``, and whether it is ``closed``."""

    ipv6: dict[str, bool]
    closed: bool

    def turned(self, is_away: bool) -> None:
        """Say that reads go to the server that writes, or to those that only read again."""

    def tell(self, reason: str, seconds: float) -> None:
        """Say what a query waits for, and for how long by now."""


class Driver:
    """One session, and its sockets, which are one thread's."""

    def __init__(self, connection: Way, target: Target, context: Context, holding: Holding) -> None:
        # The connection itself would never be collected while a thread has its driver.
        self._connection = weakref.proxy(connection)
        self._target = target
        self._context = context
        self._thread = threading.get_ident()
        self._uses = 0
        client = f"{who()}:{os.getpid()}-{os.urandom(6).hex()}"
        self._session = Session(target, holding, client)
        self._sockets: dict[str, Socket] = {}

    def ask(self, request: Request, send: Send | None = None) -> Value:
        """Return the result of what may happen twice, or raise its error.

        ``send`` is its first send, where it is not the usual one.
        """
        session = self._session
        if send is None:
            send = session.first(request)
        self._uses += 1
        try:
            reply = self._exchange(send)
            if reply is None or reply.wait is not None or reply.error is not None:
                heard = Heard(time.monotonic(), reply)
                reply = self._drive(session.insist(request, send, heard))
        except zmq.ZMQError as error:
            raise self._fault(error, send.address) from error
        finally:
            self._uses -= 1
        return session.result(reply)

    def read(self, request: Request) -> Value:
        """Return the result of a read where there is an address for reads, or raise its error."""
        session = self._session
        if self._target.is_reader_away:
            self.run(session.look_for_reader(time.monotonic()))
        return self.ask(request, session.read(request))

    def do(self, request: Request) -> Value:
        """Return the result of what must happen once, or raise its error."""
        session = self._session
        if session.since is None:
            self.run(session.greet())
        return self.ask(request, session.once(request))

    def lock(self, timeout: float | None, lease: float | None) -> None:
        """Wait for the lock of the whole tree."""
        self.run(self._session.lock(timeout, lease))

    def unlock(self) -> None:
        """Give the lock back."""
        self.run(self._session.unlock())

    def give_back_lock(self) -> None:
        """Give back the lock that a thread cannot use any more, as its sockets are closed."""
        self.run(self._session.give_back_lock())

    def run(self, steps: Steps[T]) -> T:
        """Do the steps of a generator to its end, and return what comes of it."""
        self._uses += 1
        try:
            return self._drive(steps)
        finally:
            self._uses -= 1

    def _drive(self, steps: Steps[T]) -> T:
        heard: Heard | None = None
        thrown: BaseException | None = None
        while True:
            try:
                if thrown is not None:
                    step = steps.throw(thrown)
                else:
                    step = steps.send(heard)  # type: ignore[arg-type]  # None begins a generator
                heard = thrown = None
                heard = self._take(step)
            except StopIteration as end:
                thrown = None
                result: T = end.value
                return result
            except BaseException as error:
                if error is thrown:  # which a generator that has ended gives back, too
                    thrown = None
                    raise
                thrown = error

    # --- the steps ---------------------------------------------------------------------------

    def _take(self, step: Step) -> Heard:
        """Do one step, and return what came of it."""
        reply, text = None, ""
        address = ""
        try:
            match step:
                case Send():
                    address = step.address
                    reply = self._exchange(step)
                case Pause():
                    time.sleep(step.seconds)
                case Tell():
                    self._connection.tell(step.reason, step.seconds)
                case Turn():
                    self._connection.turned(step.is_away)
                case Renew():
                    self._renew(step.address)
                case Reach():
                    text = self._reach(step.named)
                case Diagnose():
                    text = why_silent(step.address)
                case Post():
                    address = step.address
                    text = self._post(step)
                case Peek():
                    address = step.address
                    reply = self._peek(address)
                case Leave():
                    self._leave(step)
        except zmq.ZMQError as error:
            raise self._fault(error, address) from error
        return Heard(time.monotonic(), reply, text)

    def _exchange(self, send: Send) -> WireReply | None:
        """The answer to a message; None when it was silent for so long, in which it may have been
        done or not."""
        opened = self._sockets
        address, patience = send.address, send.patience
        socket = opened.get(address) or self._open(address, opened)
        try:
            send_within(socket, send.message, patience)
            return decode_reply(receive_within(socket, patience))
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno != zmq.EFSM:
                raise
            # The connection broke in the middle of the request, which ZeroMQ dropped without a
            # word. What this socket sends next would lack its envelope.
            opened.pop(address).close()
            return None

    def _post(self, step: Post) -> str:
        socket = self._sockets.get(step.address) or self._open(step.address, self._sockets)
        try:
            socket.send(step.message, AT_ONCE)
        except zmq.Again:  # the connection is not made yet
            return ""
        return step.address

    def _peek(self, address: str) -> WireReply | None:
        socket = self._sockets.get(address) or self._open(address, self._sockets)
        try:
            return decode_reply(receive(socket, AT_ONCE))
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno != zmq.EFSM:
                raise
            return None  # what was posted was forgotten for something else that was sent

    def _reach(self, named: str) -> str:
        """The address that a server named, if a socket can be had for it."""
        try:
            address = to_connect(named, near=self._target.write_uri)
            if address not in self._sockets:
                self._open(address, self._sockets)
        except (AddressError, zmq.ZMQError):
            return ""
        return address

    def _open(self, uri: str, opened: dict[str, Socket]) -> Socket:
        if self._connection.closed:
            raise _closed_meanwhile(uri)
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

    def _leave(self, step: Leave) -> None:
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
                connect(socket, step.address, self._connection.ipv6.get(step.address, False))
                socket.send(step.message)
                if not (socket.poll(socket.linger) or is_closed):
                    self._sockets[_LEFT] = socket
            finally:
                if self._sockets.get(_LEFT) is not socket:
                    socket.close()
        if is_closed:
            context.term()

    def _fault(self, error: zmq.ZMQError, uri: str) -> PyzdbError:
        """What a failure of ZeroMQ means to the caller."""
        if self._connection.closed:
            return _closed_meanwhile(uri)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return NoSocket(
                f"no socket can be opened for {uri}: too many are open in this process, one for "
                f"each thread that uses a connection (`ulimit -n` tells the limit)",
                uri,
            )
        return NoSocket(f"the socket for {uri} failed: {error}", uri)

    def close(self) -> None:
        """Close the sockets, when their thread does not wait for them any more.

        From here on it finds none; if it has found one before, it is about to hear of the end.
        """
        opened, self._sockets = self._sockets, {}
        while self._uses and self._thread != threading.get_ident():
            time.sleep(CLOSING)
        for socket in opened.values():
            socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_sockets"):  # else it was not made: too many calls in one another
            self.close()


def why_silent(uri: str) -> str:
    """Why an address may be silent, if it is a name that stands for no address; ZeroMQ goes on
    looking it up, and says nothing."""
    if not is_name(uri):
        return ""
    # Most clients never need it, and their import is measured.
    import socket

    host = split(uri)[1].rpartition(";")[2]  # before it stands the address to come from
    found: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, None)
            found.append("")
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            found.append(f"the name {host!r} cannot be resolved: {reason}")

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NAME_PATIENCE)
    return found[0] if found else f"the name {host!r} has not been resolved so far"


def _closed_meanwhile(uri: str) -> ConnectionClosed:
    return ConnectionClosed(f"the connection to {uri} was closed meanwhile", uri)

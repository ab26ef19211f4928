"""One client as its server sees it, without I/O: an id, its numbers, and what to do next.

A driver (pyzdb/client/driver.py) has the sockets and the clock. `first` and its like are the usual
case, a send that is answered at once; everything else is a generator of steps (steps.py).

Rules this module keeps:

- No socket, clock, sleep or thread: what is to be done and when is told as values.
- A session has one request under way. It sends it again when there is silence; the number in it
  makes a write happen once, however often it arrives.
- Nothing waits for ever: after ``timeout`` seconds of silence ServerTimeout says which address
  did not answer. Before, a connection that stays silent is replaced by a new one: it may be dead
  without an end of it that anybody was told.
- Where no read-only server answers, reads go to the server that writes, whose tree is the newest.
- An error that is raised is held by no reply that a frame has a name for: such a ring is found by
  nobody, as Python's collector does not watch a reply.
- A lock that may have been granted without the caller having it, whatever came between, is given
  back.
"""

from __future__ import annotations

from pyzdb.errors import LockError, OutcomeUnknown, PyzdbError, ServerTimeout
from pyzdb.paths import Value
from pyzdb.protocol.holding import Holding, not_granted
from pyzdb.protocol.leases import lease_of, patience_of
from pyzdb.protocol.replies import WireReply
from pyzdb.protocol.requests import (
    Call,
    GiveLockBack,
    Hello,
    Read,
    Request,
    TakeLock,
    encode_request,
)
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
    Steps,
    Tell,
    Turn,
)
from pyzdb.protocol.waits import LARGE, UPLOAD_RATE, USUAL_WAITS, Waits

SHORTEST = 0.001
"""Seconds that are too few to wait for: sockets count in milliseconds."""

_PROBE = encode_request(Read((), "__len__", version=2))
"""What is asked of a server only to see whether it answers."""


class Target:
    """The server that the sessions of one connection ask, and what all of them know of it.

    ``timeout`` is in seconds; ``seen`` is the newest commit that a reply has shown. ``reader`` is
    where reads go now: ``read_uri``, or None (to ``write_uri``) when nobody answers there.
    """

    __slots__ = ("read_uri", "reader", "seen", "timeout", "waits", "write_uri")

    def __init__(
        self,
        write_uri: str,
        read_uri: str | None,
        timeout: float,
        waits: Waits = USUAL_WAITS,
    ) -> None:
        self.write_uri = write_uri
        self.read_uri = read_uri
        self.timeout = timeout
        self.waits = waits
        self.seen = 0
        self.reader = read_uri

    @property
    def is_reader_away(self) -> bool:
        """True when there is an address for reads, and nobody answers there."""
        return self.reader != self.read_uri

    def turn(self, is_away: bool) -> Steps[None]:
        """Let reads go to the server that writes, or to those that only read again."""
        if is_away != self.is_reader_away:  # else by another session, meanwhile
            self.reader = None if is_away else self.read_uri
            yield Turn(is_away)


class Session:
    """One client for the server, by the name of its ``id``."""

    def __init__(self, target: Target, holding: Holding, id: str) -> None:
        self.target = target
        self.id = id
        self.since: int | None = None  # the commit that the server was at; None: not greeted yet
        self._uri = target.write_uri
        self._number = 0
        self._holding = holding
        self._first_silence = min(target.waits.first_resend, target.timeout)
        self._has_reader = target.read_uri is not None
        self._posted: float | None = None  # when a probe went to the address for reads

    # --- the usual case ----------------------------------------------------------------------

    def first(self, request: Request, address: str | None = None) -> Send:
        """The first send of a request, to the server that writes or another ``address``.

        What is answered at once goes to `result`, everything else to `insist`.
        """
        holding = self._holding
        if holding.token is not None:
            holding.check()
            address, request.token = holding.uri, holding.token
        message = encode_request(request)
        patience = self._first_silence
        if len(message) > LARGE:
            patience = self._patience(message, patience)
        return Send(message, address or self._uri, patience)

    def read(self, request: Request) -> Send:
        """The first send of a read. What this process has seen, and what it has written, is there
        in all that it reads."""
        target = self.target
        request.at_least = target.seen
        return self.first(request, target.reader)

    def once(self, request: Request) -> Send:
        """The first send of what must happen once, of a session that has been greeted."""
        self._number += 1
        request.client, request.number, request.since = self.id, self._number, self.since or 0
        return self.first(request)

    def result(self, reply: WireReply) -> Value:
        """Return the value of a reply, or raise its error."""
        if self._has_reader and reply.sequence > self.target.seen:
            self.target.seen = reply.sequence
        if reply.error is None:
            return reply.value
        # Frames of a driver, which the traceback leads to, may have a name for the reply.
        failure, reply.error = reply.error, None
        try:
            raise failure
        finally:
            del failure

    # --- the rest ----------------------------------------------------------------------------

    def ask(self, request: Request, send: Send, patience: float | None = None) -> Steps[Value]:
        """Do a request from its first send on, and return its result, or raise its error.

        ``patience`` (seconds, default: the timeout) is how long to wait for the lock of another
        client.
        """
        heard = yield send
        reply = heard.reply
        if reply is None or reply.wait is not None or reply.error is not None:
            reply = yield from self.insist(request, send, heard, patience)
        return self.result(reply)

    def greet(self) -> Steps[None]:
        """Hear where the server is, which comes before the first thing that must happen once."""
        self.since = yield from self._sequence()

    def do(self, request: Request, patience: float | None = None) -> Steps[Value]:
        """Do what must happen once, as `ask` does."""
        if self.since is None:
            yield from self.greet()
        return (yield from self.ask(request, self.once(request), patience))

    def insist(
        self, request: Request, send: Send, heard: Heard, patience: float | None = None
    ) -> Steps[WireReply]:
        """Send a request again, which met silence or has to wait, until it is answered; an error
        may be an answer. ``heard`` is what came of its first ``send``."""
        holding = self._holding
        trial = _Trial(self, request, send, heard, patience)
        while True:
            reply, now = heard.reply, heard.now
            if reply is None:
                yield from trial.meet_silence(now)
            elif reply.wait is not None:
                yield from trial.come_back(reply, now)
            elif type(reply.error) is OutcomeUnknown and trial.cannot_have_happened(now):
                # It was sent once and is not done: this server only does not know the client.
                request.since = self.since = yield from self._sequence()
                trial.message = None
            elif type(reply.error) is LockError and trial.address == holding.address != self._uri:
                # What listens at an address that a tunnel hides is another server.
                trial.address = self._uri
            else:
                if request.token is not None:
                    holding.uri = trial.address
                return reply
            heard = yield trial.send()

    def look_for_reader(self, now: float) -> Steps[None]:
        """Find out whether a read-only server answers by now; it is asked from time to time, and
        not waited for."""
        target, address = self.target, self.target.read_uri or self._uri
        if self._posted is not None:
            heard = yield Peek(address)
            if heard.reply is not None:
                self._posted = None
                yield from target.turn(is_away=False)
                return
        if self._posted is None or now - self._posted >= target.waits.probe_interval:
            heard = yield Post(_PROBE, address)
            if heard.text:  # else the connection to it is not made yet
                self._posted = now

    def _sequence(self) -> Steps[int]:
        """The number of the last commit of the server."""
        request = Hello(version=2)
        state: dict[str, int] = yield from self.ask(request, self.first(request))
        return state["sequence"]

    def _patience(self, message: bytes, silence: float) -> float:
        """The seconds of ``silence`` that are waited through for a message, more for a large
        one."""
        if len(message) <= LARGE:
            return silence
        return max(silence, min(len(message) / UPLOAD_RATE, self.target.timeout))

    # --- the lock ----------------------------------------------------------------------------

    def lock(self, timeout: float | None = None, lease: float | None = None) -> Steps[None]:
        """Wait for the lock of the whole tree. Raises LockTimeout, and LockError for what is not a
        number of seconds, before anything is sent."""
        holding = self._holding
        patience = patience_of(timeout)
        if lease is not None:
            lease = lease_of(lease)  # JSON would carry an infinite one as none
        if holding.token is not None:
            raise LockError("this thread holds the lock already")
        before = self._number
        try:
            granted: dict[str, Value] = yield from self.do(
                TakeLock(lease=lease, version=2), patience
            )
            heard = yield Reach(granted["uri"])
            holding.use_at(heard.text or self._uri, self._uri)
            holding.take(granted["token"])
        except GeneratorExit:  # of a driver that ends in the middle
            raise
        except BaseException:
            holding.release()
            if self._number != before:
                yield from self._give_back()
            raise

    def unlock(self) -> Steps[None]:
        """Give the lock back. Raises LockError when it is not held."""
        holding = self._holding
        token = holding.token
        if token is None:
            raise LockError(
                "this thread does not hold the lock: the one that took it gives it back"
            )
        holding.check()
        try:
            yield from self.do(GiveLockBack(version=2))
        except (LockError, GeneratorExit):
            raise
        except BaseException:
            yield from self._give_back(token)
            raise
        finally:
            holding.release()

    def give_back_lock(self) -> Steps[None]:
        """Give back the lock of a caller who cannot use it any more, if there is one."""
        token = self._holding.token
        if token is not None:
            self._holding.release()
            yield from self._give_back(token)

    def _give_back(self, token: int | None = None) -> Steps[None]:
        """Have the server free the lock of a token, or whatever it has granted to this client,
        which waits no more. What it asked for before and arrives late has an older number, and is
        refused."""
        self._number += 1
        request = GiveLockBack(client=self.id, number=self._number, token=token, version=2)
        request.since = self.since or 0
        message = encode_request(request)
        try:
            heard = yield Send(message, self._uri, self._first_silence)
            if heard.reply is not None:
                return
        except PyzdbError:
            pass
        yield Leave(message, self._uri)


class _Trial:
    """How it goes with a request that was not answered at once: where it is sent next, and how
    long each kind of waiting has lasted. Times are seconds."""

    def __init__(
        self,
        session: Session,
        request: Request,
        send: Send,
        heard: Heard,
        patience: float | None,
    ) -> None:
        self.address = send.address
        self.message: bytes | None = send.message  # None: the request has changed
        self._session = session
        self._request = request
        self._patience = patience
        self._began = self._heard = heard.now
        self._silence = session._first_silence
        if heard.reply is None:
            self._heard -= self._silence  # what a large message took beyond it does not count
        self._sent_once = heard.reply is not None  # each time that it was sent it was answered
        waits, timeout = session.target.waits, session.target.timeout
        self._back = waits.first_return
        self._trusted = min(waits.new_socket, timeout / 2)
        self._renewal = self._heard + self._trusted

    def send(self) -> Send:
        """The next send."""
        if self.message is None:
            self.message = encode_request(self._request)
        patience = self._session._patience(self.message, self._silence)
        return Send(self.message, self.address, patience)

    def cannot_have_happened(self, now: float) -> bool:
        """True when nothing was lost of what was sent and heard, and there is time left."""
        return self._sent_once and now - self._began < self._session.target.timeout

    def meet_silence(self, now: float) -> Steps[None]:
        """Go on after a send that nobody answered. Raises ServerTimeout."""
        target, request = self._session.target, self._request
        self._sent_once = False
        silent = now - self._heard
        if target.timeout - silent < SHORTEST:
            heard = yield Diagnose(self.address)
            raise _unanswered(target, self.address, silent, heard.text)
        yield Tell("silent", silent)
        self._silence = min(self._silence * 2, target.waits.longest_resend, target.timeout - silent)
        if self.address == target.read_uri != target.write_uri and request.token is None:
            yield from self._doubt_reader(silent)
        elif now >= self._renewal:
            yield Renew(self.address)
            if request.token is None or self.address == target.write_uri:
                self._trusted *= 2
                self._renewal = now + self._trusted
        if request.token is not None:
            other = self._session._holding.address
            self.address = other if self.address == target.write_uri else target.write_uri

    def _doubt_reader(self, silent: float) -> Steps[None]:
        """Wait for a read-only server no longer than it takes to start, and then turn away."""
        target = self._session.target
        left = min(target.waits.reader_patience, target.timeout / 2) - silent
        if left >= SHORTEST:
            self._silence = min(self._silence, left)
        else:
            yield from target.turn(is_away=True)
            self.address, self._silence = target.write_uri, self._session._first_silence

    def come_back(self, reply: WireReply, now: float) -> Steps[None]:
        """Wait as long as the server says. Raises LockTimeout and ServerTimeout."""
        target, request = self._session.target, self._request
        reason = reply.wait or ""
        waited = now - self._began
        self._heard = now
        self._renewal = now + self._trusted
        if reason == "behind" and waited >= target.waits.behind_patience:
            yield from self._look_back(reply, waited)
        pause = self._back
        if reason == "locked":
            limit = target.timeout if self._patience is None else self._patience
            if waited >= limit:
                raise not_granted(reply, waited)
            if reply.lock is not None:
                pause = max(0.0, min(reply.lock.back, limit - waited))
            request.client = self._session.id  # which keeps a place in the line
        yield Tell(reason, waited)
        if isinstance(request, Call):
            request.ticket = reply.ticket
        self.message = None
        yield Pause(pause)
        self._back = min(self._back * 1.5, target.waits.longest_return)

    def _look_back(self, reply: WireReply, waited: float) -> Steps[None]:
        """Find out whether a read-only server is only slow. Raises ServerTimeout at last."""
        target, request = self._session.target, self._request
        if waited >= target.timeout:
            raise ServerTimeout(
                f"{self.address} has been behind for {waited:.1f} s: it is at commit "
                f"{reply.sequence}, and this client has seen {request.at_least}",
                self.address,
                waited,
            )
        # Where an older copy of the database was put back there is no such commit any more.
        last = yield from self._session._sequence()
        target.seen = request.at_least = min(target.seen, last)


def _unanswered(target: Target, address: str, waited: float, why: str) -> ServerTimeout:
    start = "python server.py" + (" -ro" if address == target.read_uri else "")
    hint = why or f"is a server there? `{start}` starts one"
    return ServerTimeout(f"{address} did not answer for {waited:.1f} s; {hint}", address, waited)

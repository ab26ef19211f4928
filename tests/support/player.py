"""Drivers of a session without a socket: one plays a script, one asks a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pyzdb.protocol.replies import WireReply, decode_reply
from pyzdb.protocol.requests import Request, decode_request
from pyzdb.protocol.session import Session
from pyzdb.protocol.steps import Heard, Leave, Pause, Peek, Post, Reach, Renew, Send, Step, Steps
from tests.support.engine import Engine

T = TypeVar("T")

Answer = WireReply | BaseException | None
"""What comes of a send: a reply, something that is raised while it waits, or silence."""


class Player:
    """Answers sends from a script, with a clock that only waiting moves, and keeps all steps and
    the times that they came at.

    ``texts`` are the answers to steps that are answered by a text, by the kind of step.
    """

    def __init__(self, *answers: Answer, **texts: str) -> None:
        self.now = 1000.0
        self.steps: list[Step] = []
        self.times: list[float] = []
        self.answers = list(answers)
        self.texts = texts

    def run(self, steps: Steps[T]) -> T:
        """Run a generator to its end; after the last answer there is only silence."""
        heard: Heard | None = None
        thrown: BaseException | None = None
        while True:
            try:
                if thrown is not None:
                    step = steps.throw(thrown)
                else:
                    step = steps.send(heard)  # type: ignore[arg-type]  # None begins a generator
            except StopIteration as end:
                result: T = end.value
                return result
            self.steps.append(step)
            self.times.append(self.now)
            try:
                heard, thrown = self.take(step), None
            except BaseException as error:
                thrown = error

    def take(self, step: Step) -> Heard:
        """Do one step."""
        reply = None
        match step:
            case Send():
                answer = self.answers.pop(0) if self.answers else None
                if isinstance(answer, BaseException):
                    raise answer
                if answer is None:
                    self.now += step.patience
                reply = answer
            case Pause():
                self.now += step.seconds
            case Peek():
                peeked = self.answers.pop(0) if self.answers else None
                assert not isinstance(peeked, BaseException)
                reply = peeked
        return Heard(self.now, reply, self.texts.get(type(step).__name__, ""))

    @property
    def sent(self) -> list[Request]:
        """The requests that were sent, in order."""
        return [decode_request(step.message) for step in self.steps if isinstance(step, Send)]

    @property
    def addresses(self) -> list[str]:
        """Where they were sent."""
        return [step.address for step in self.steps if isinstance(step, Send)]

    def of(self, kind: type[T]) -> list[T]:
        """The steps of a kind."""
        return [step for step in self.steps if isinstance(step, kind)]


class Embedded:
    """A driver whose server is a database in this process, with the time of the test: a client
    without a socket, a thread or a sleep. ``lost`` says of each reply whether it gets lost."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self.engine = engine
        self.session = session
        self.lost: Callable[[], bool] = lambda: False

    def ask(self, request: Request, once: bool = True) -> Any:
        """The usual case by plain calls, and the rest as steps."""
        session = self.session
        if once and session.since is None:
            self.run(session.greet())
        send = session.once(request) if once else session.first(request)
        reply = self._exchange(send)
        if reply is None or reply.wait is not None or reply.error is not None:
            heard = Heard(self.engine.monotonic(), reply)
            reply = self.run(session.insist(request, send, heard))
        return session.result(reply)

    def run(self, steps: Steps[T]) -> T:
        """Run a generator to its end."""
        heard: Any = None
        try:
            while True:
                heard = self._take(steps.send(heard))
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: Step) -> Heard:
        reply, text = None, ""
        match step:
            case Send():
                reply = self._exchange(step)
            case Pause():
                self.engine.pass_seconds(step.seconds)
            case Reach():
                text = step.named
            case Leave():
                self.engine.db.handle(step.message)
                self.engine.db.flush()
            case Post() | Peek() | Renew():
                raise AssertionError(f"there is one address here: {step}")
        return Heard(self.engine.monotonic(), reply, text)

    def _exchange(self, send: Send) -> WireReply | None:
        answer = self.engine.db.handle(send.message)
        self.engine.db.flush()
        if self.lost():
            self.engine.pass_seconds(send.patience)
            return None
        assert isinstance(answer, bytes)
        return decode_reply(answer)

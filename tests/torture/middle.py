"""What stands between clients and a server, and may do harm there.

It works on whole messages: what a client sent to one address goes on to another, and the answer
goes back, unless a subclass decides otherwise. The subclasses here do what a faulty server would
do; a test that does not notice them is wrong.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Self

import zmq
from msgspec.structs import replace

from pyzdb.protocol.replies import Reply, decode_reply, encode_reply
from pyzdb.protocol.requests import Call, Request, decode_request, encode_request
from tests.torture.processes import free_uris

Sender = tuple[bytes, ...]
"""The frames before a message that say where its answer goes."""

STOP_LOOK = 50
"""Milliseconds between two looks whether to end."""

RECONNECT = 20
"""Milliseconds until the server is looked for again after it was killed."""

FAULT_RATE = 0.05
"""The share of messages that a planted fault does harm to."""

TWIN = "-twin"
"""What is added to the id of a client to make another client of it."""


class Middle:
    """A thread that takes messages at ``uri`` and passes them on to ``target``.

    For a `with` block. A subclass overrides ``request`` and ``answer``.
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        (self.uri,) = free_uris(1)
        self.random = random.Random(seed)
        self._target = target
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"middle {self.uri}")

    def __enter__(self) -> Self:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        self._back.reconnect_ivl = RECONNECT
        self._front.bind(self.uri)
        self._back.connect(self._target)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def request(self, sender: Sender, message: bytes) -> None:
        """Called for each message of a client."""
        self.to_server(sender, message)

    def answer(self, sender: Sender, message: bytes) -> None:
        """Called for each message of the server."""
        self.to_client(sender, message)

    def to_server(self, sender: Sender, message: bytes) -> None:
        """Pass a message on to the server."""
        self._send(self._back, sender, message)

    def to_client(self, sender: Sender, message: bytes) -> None:
        """Pass a message on to the client."""
        self._send(self._front, sender, message)

    def _send(self, socket: zmq.Socket[bytes], sender: Sender, message: bytes) -> None:
        try:
            socket.send_multipart([*sender, message], zmq.NOBLOCK)
        except zmq.Again:
            return  # thousands wait already: clients send again what they miss

    def _work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        poller.register(self._back, zmq.POLLIN)
        while not self._ending.is_set():
            for socket, _ in poller.poll(STOP_LOOK):
                *sender, message = socket.recv_multipart()
                if socket is self._front:
                    self.request(tuple(sender), message)
                else:
                    self.answer(tuple(sender), message)


class StaleReads(Middle):
    """Answers some reads with what the same read gave some time ago."""

    AGE: ClassVar[int] = 5
    """Reads of one kind that are made before the oldest of their answers is given again."""

    def __init__(self, target: str, seed: int = 0) -> None:
        super().__init__(target, seed)
        self._asked: dict[Sender, str] = {}
        self._given: dict[str, deque[bytes]] = {}

    def request(self, sender: Sender, message: bytes) -> None:
        request = decode_request(message)
        if request.mode == "read":
            what = repr(request.single())
            given = self._given.setdefault(what, deque(maxlen=self.AGE))
            if len(given) == self.AGE and self.random.random() < FAULT_RATE:
                self.to_client(sender, given[0])
                return
            self._asked[sender] = what
        self.to_server(sender, message)

    def answer(self, sender: Sender, message: bytes) -> None:
        what = self._asked.pop(sender, None)
        if what is not None:
            self._given[what].append(message)
        self.to_client(sender, message)


class LostWrites(Middle):
    """Acknowledges some writes without passing them on."""

    DONE: ClassVar[bytes] = encode_reply(Reply())

    def request(self, sender: Sender, message: bytes) -> None:
        if _gives_nothing(decode_request(message)) and self.random.random() < FAULT_RATE:
            self.to_client(sender, self.DONE)
        else:
            self.to_server(sender, message)


class DoubleWrites(Middle):
    """Passes some writes on a second time, as if another client had sent the same."""

    NOBODY: ClassVar[Sender] = (b"nobody", b"")

    def request(self, sender: Sender, message: bytes) -> None:
        self.to_server(sender, message)
        request = decode_request(message)
        if _gives_nothing(request) and self.random.random() < FAULT_RATE:
            twin = replace(request, client=request.client + TWIN)
            self.to_server(self.NOBODY, encode_request(twin))

    def answer(self, sender: Sender, message: bytes) -> None:
        if sender != self.NOBODY:
            self.to_client(sender, message)


class SecondRuns(Middle):
    """Has some repeats done again, as if they came from a client that was never heard before."""

    def __init__(self, target: str, seed: int = 0) -> None:
        super().__init__(target, seed)
        self._seen: set[tuple[str, int]] = set()

    def request(self, sender: Sender, message: bytes) -> None:
        request = decode_request(message)
        once = (request.client, request.number)
        if once in self._seen and self.random.random() < FAULT_RATE:
            message = encode_request(replace(request, client=request.client + TWIN))
        elif request.number:
            self._seen.add(once)
        self.to_server(sender, message)


class LateWrites(Middle):
    """Has messages under a lock that was lost done as if they were under none.

    Holders of the lock are told to send here as well.
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        super().__init__(target, seed)
        self._newest: int | None = None

    def request(self, sender: Sender, message: bytes) -> None:
        request = decode_request(message)
        if request.token != self._newest:
            message = encode_request(replace(request, token=None))
        self.to_server(sender, message)

    def answer(self, sender: Sender, message: bytes) -> None:
        reply = decode_reply(message)
        value = reply.value
        if isinstance(value, dict) and "token" in value:
            self._newest = value["token"]
            message = encode_reply(Reply({**value, "uri": self.uri}), 2, reply.sequence)
        self.to_client(sender, message)


def _gives_nothing(request: Request) -> bool:
    """Tell whether a request is a write that is answered with None."""
    return isinstance(request, Call) and request.func in ("__setitem__", "__iadd__", "append")


FAULTS: dict[str, type[Middle]] = {
    "stale-read": StaleReads,
    "lost-write": LostWrites,
    "double-write": DoubleWrites,
    "second-run": SecondRuns,
    "late-write": LateWrites,
}
"""The faults that can be planted, by name."""


@contextlib.contextmanager
def way_to(target: str, fault: str | None, seed: int) -> Iterator[str]:
    """The address through which clients reach ``target``: its own when no fault is planted."""
    if fault is None:
        yield target
    else:
        with FAULTS[fault](target, seed) as middle:
            yield middle.uri

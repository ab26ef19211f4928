"""The REP sockets of a server, and the one thread that answers them all.

Rules this module keeps:

- A round takes what has arrived on every socket, has it handled, makes all of it durable with one
  sync, and only then sends the answers: group commit.
- A request that has to wait is answered at once with "come back", except one of version 1: its
  socket is set aside until there is an answer. What the queue has dealt to that socket meanwhile
  is served after it; a client whose request is stuck there sends it again, to another socket.
- Whatever arrives is answered, and nothing that arrives ends the server.
- A client that asks for one thing after the other finds the server awake: to wake a process that
  sleeps takes longer than most answers. Whatever has work for the processor goes first.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import zmq

from pyzdb.engine.core import Core
from pyzdb.errors import MessageError
from pyzdb.protocol.replies import encode_reply, failed
from pyzdb.protocol.requests import Envelope
from pyzdb.server.poller import Events, Poller, give_way, new_poller
from pyzdb.transport.sockets import AT_ONCE, Socket, readable, receive, send

IDLE = 0.25
"""Seconds that a server waits for messages before it looks after leases and syncs that are due."""

AWAKE = 0.0005
"""Seconds that a server looks for the next message of a lone client before it sleeps: longer than
such a client takes from an answer to its next request."""

LONE_ROUNDS = 16
"""Rounds with one message each after which a client counts as a lone one. When several are at
work, there is mostly something to do, and looking would take the processor from them."""

CROWD = 0.000025
"""Seconds in which no client can have read its answer and sent the next request: what comes sooner
is of another one."""


class ServerLoop:
    """Answers what arrives on ``sockets`` and on ``lock_socket``, the one that the holder of the
    lock is sent to, from a database. ``clock`` gives seconds of a monotonic clock."""

    def __init__(
        self,
        database: Core,
        sockets: Sequence[Socket],
        lock_socket: Socket | None = None,
        clock: Callable[[], float] = time.monotonic,
        poller: Callable[[], Poller] = new_poller,
    ) -> None:
        self._database = database
        self._lock_socket = lock_socket
        self._sockets = list(sockets) if lock_socket is None else [*sockets, lock_socket]
        self._parked: dict[Socket, Envelope] = {}
        self._lone_rounds = 0
        self._clock = clock
        self._new_poller = poller

    def run(self, stop_fd: int, tick: Callable[[], float | None]) -> None:
        """Answer until there is something to read from ``stop_fd``; ``tick`` is called between
        two rounds, and when the seconds that it returns have passed without one."""
        # ZeroMQ's own poll looks at every socket each time. The descriptor of a socket only says
        # that something happened to it since the last call: so what has been used is asked.
        database = self._database
        clock = self._clock  # a name of the function is found faster than one of the object
        fds = {socket: int(socket.get(zmq.FD)) for socket in self._sockets}
        by_fd = {fd: socket for socket, fd in fds.items()}
        ready = set(self._sockets)
        saving: int | None = None
        due = 0.0
        with contextlib.closing(self._new_poller()) as events:
            for fd in (stop_fd, *by_fd):
                events.watch(fd)
            while True:
                now = clock()
                if now >= due:
                    wanted = tick()
                    due = now + (IDLE if wanted is None else min(wanted, IDLE))
                if saving != database.save_fd:
                    if saving is not None:
                        events.forget(saving)
                    saving = database.save_fd
                    if saving is not None:
                        events.watch(saving)
                for fd, _ in self._wait(events, 0 if ready else due - now):
                    if fd in by_fd:
                        ready.add(by_fd[fd])
                    elif fd == stop_fd:
                        return
                    elif fd == saving:
                        events.forget(fd)
                        saving = None  # the next save may get the same number
                        database.finish_save()
                answers = []
                for socket in ready:
                    answer = self._take(socket)
                    if answer is not None:
                        answers.append((socket, answer))
                    elif socket in self._parked:
                        events.pause(fds[socket])
                ready.clear()
                if self._parked:
                    for socket, answer in self._unpark():
                        answers.append((socket, answer))
                        events.resume(fds[socket])
                self._lone_rounds = self._lone_rounds + 1 if len(answers) == 1 else 0
                database.flush()
                for socket, answer in answers:
                    send(socket, answer)
                if answers:
                    ready.update(readable([socket for socket, _ in answers]))

    def _wait(self, events: Poller, seconds: float) -> Events:
        """What happens within so many seconds; a lone client finds the server looking for it."""
        if seconds > 0 and self._lone_rounds >= LONE_ROUNDS:
            began = self._clock()
            happened = self._look(events, began + AWAKE)
            if not happened or self._clock() - began < CROWD:
                self._lone_rounds = 0
            if happened:
                return happened
        return events.poll(seconds)

    def _take(self, socket: Socket) -> bytes | None:
        """The answer to the message that waits on a socket; None when there is none yet."""
        try:
            frame = receive(socket, AT_ONCE, False)
        except zmq.Again:
            return None
        if frame.more:
            while socket.get(zmq.RCVMORE):
                socket.recv()
            error = MessageError("a message has one part, this one has more")
            return encode_reply(failed(error, 1), 1)
        answer = self._database.handle(frame.bytes, socket is self._lock_socket)
        if isinstance(answer, bytes):
            return answer
        self._parked[socket] = answer
        return None

    def _unpark(self) -> list[tuple[Socket, bytes]]:
        """The answers that those who wait can have by now."""
        answers = []
        for socket, envelope in list(self._parked.items()):
            answer = self._database.answer(envelope)
            if isinstance(answer, bytes):
                answers.append((socket, answer))
                del self._parked[socket]
        return answers

    def _look(self, events: Poller, until: float) -> Events:
        """What happens until a time, while others may have the processor."""
        clock, poll = self._clock, events.poll
        while clock() < until:
            happened = poll(0)
            if happened:
                return happened
            give_way()
        return []

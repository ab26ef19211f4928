"""The REP sockets of a server, and the one thread that answers them all.

Rules this module keeps:

- A round takes what has arrived on every socket, has it handled, makes all of it durable with one
  sync, and only then sends the answers: group commit.
- A request that has to wait is answered at once with "come back", but for one of version 1: its
  socket is set aside until there is an answer. What the queue has dealt to that socket meanwhile
  is served after it; a client whose request is stuck there sends it again, to another socket.
- Whatever arrives is answered, and nothing that arrives ends the server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import zmq

from pyzdb.database import Asked, Database
from pyzdb.errors import MessageError
from pyzdb.messages import Reply, encode_reply

IDLE = 0.25
"""Seconds that a server waits for messages before it looks after leases and syncs that are due."""


class Responder:
    """Answers what arrives on ``sockets`` and on ``lock_socket``, the one that the holder of the
    lock is sent to, from a database."""

    def __init__(
        self,
        database: Database,
        sockets: Sequence[zmq.Socket[bytes]],
        lock_socket: zmq.Socket[bytes] | None = None,
    ) -> None:
        self._database = database
        self._lock_socket = lock_socket
        self._parked: dict[zmq.Socket[bytes], Asked] = {}
        self._poller = zmq.Poller()
        for socket in (*sockets, *([] if lock_socket is None else [lock_socket])):
            self._poller.register(socket, zmq.POLLIN)
        self._save_fd: int | None = None

    def run(self, stop_fd: int, tick: Callable[[], float | None]) -> None:
        """Answer until there is something to read from ``stop_fd``; ``tick`` is called between
        two rounds, and when the seconds that it returns have passed without one."""
        self._poller.register(stop_fd, zmq.POLLIN)
        due: float | None = IDLE
        while True:
            timeout = IDLE if due is None else min(due, IDLE)
            events: list[tuple[Any, int]] = self._poller.poll(int(timeout * 1000))
            answers = []
            for socket, _ in events:
                if socket == stop_fd:
                    return
                if socket == self._save_fd:
                    self._database.end_save()
                    continue
                answer = self._take(socket)
                if answer is not None:
                    answers.append((socket, answer))
            if self._parked:
                answers += self._unpark()
            self._database.flush()
            for socket, answer in answers:
                socket.send(answer)
            due = tick()
            if self._save_fd != self._database.save_fd:
                self._watch_save()

    def _take(self, socket: zmq.Socket[bytes]) -> bytes | None:
        """The answer to the message that waits on a socket; None when there is none yet."""
        try:
            message = socket.recv(zmq.NOBLOCK)
            if socket.rcvmore:
                while socket.rcvmore:
                    socket.recv(zmq.NOBLOCK)
                raise MessageError("a message has one part, this one has more")
        except zmq.Again:
            return None
        except MessageError as error:
            return encode_reply(Reply(error=error), version=1)
        answer = self._database.handle(message, socket is self._lock_socket)
        if isinstance(answer, bytes):
            return answer
        self._parked[socket] = answer
        self._poller.unregister(socket)
        return None

    def _unpark(self) -> list[tuple[zmq.Socket[bytes], bytes]]:
        """The answers that those who wait can have by now."""
        answers = []
        for socket, asked in list(self._parked.items()):
            answer = self._database.answer(asked)
            if isinstance(answer, bytes):
                answers.append((socket, answer))
                del self._parked[socket]
                self._poller.register(socket, zmq.POLLIN)
        return answers

    def _watch_save(self) -> None:
        if self._save_fd is not None:
            self._poller.unregister(self._save_fd)
        self._save_fd = self._database.save_fd
        if self._save_fd is not None:
            self._poller.register(self._save_fd, zmq.POLLIN)

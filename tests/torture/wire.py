"""TCP connections to a server that fall silent: nothing passes on them, and nobody is told."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Self

from pyzdb.transport.addresses import split


class Wire:
    """Carries TCP connections to a server; those that are there may fall silent, without an end."""

    def __init__(self, target: str) -> None:
        _, host, port = split(target)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._told, self._tell = socket.socketpair()
        self._ways: dict[socket.socket, socket.socket] = {}
        self._opening: dict[socket.socket, socket.socket] = {}
        self._silent: list[socket.socket] = []
        self.uri = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._work)

    def fall_silent(self) -> None:
        """From now on nothing passes on the connections of now; new ones work."""
        self._tell.send(b"s")
        assert self._tell.recv(1) == b"s"

    def _work(self) -> None:
        while True:
            # Not select, which counts only to 1,023.
            poll = select.poll()
            waiting = [self._told, self._listener, *self._ways]
            by_number = {each.fileno(): each for each in (*waiting, *self._opening)}
            for each in waiting:
                poll.register(each, select.POLLIN)
            for far in self._opening:
                poll.register(far, select.POLLOUT)
            ready = [by_number[number] for number, _ in poll.poll()]
            if self._told in ready:
                if self._told.recv(1) == b"e":
                    return
                self._silent += self._ways
                self._ways.clear()
                self._told.send(b"s")
                continue
            for each in ready:
                if each is self._listener:
                    self._accept()
                elif each in self._opening:
                    self._open(each)
                elif each in self._ways:
                    self._carry(each)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        # The server may be full, and others need not wait for that.
        far = socket.socket()
        far.setblocking(False)
        far.connect_ex(self._target)
        self._opening[far] = near

    def _open(self, far: socket.socket) -> None:
        near = self._opening.pop(far)
        if far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            near.close()
            far.close()
            return
        far.setblocking(True)
        self._ways[near], self._ways[far] = far, near
        self.connections += 1

    def _carry(self, source: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(1 << 16)
        if data:
            self._ways[source].sendall(data)
        else:
            for end in (source, self._ways[source]):
                del self._ways[end]
                end.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tell.send(b"e")
        self._thread.join()
        ends = (*self._ways, *self._silent, *self._opening, *self._opening.values())
        for each in (self._listener, self._told, self._tell, *ends):
            each.close()

"""The client: proxies over ZeroMQ.

Rules this module keeps:

- Each thread has sessions (session.py) of its own, mostly one. A process that was forked begins new
  ones. No other thread uses their sockets; one that closes them waits until they are not in use.
- A session is taken out of the list of those that are idle while it is used, so that a query of a
  signal handler, or of a finalizer, in the middle of another one has another session. The lock is
  the thread's, and of one task of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, cast

from pyzdb.client.holding import Holding, current_task
from pyzdb.client.session import GOODBYE, Session
from pyzdb.errors import ConnectionClosed, PyzdbError
from pyzdb.operations.table import TABLE
from pyzdb.paths import Path
from pyzdb.protocol.messages import Command, Get, Request
from pyzdb.proxy.root import Root
from pyzdb.transport.sockets import Context, check, new_context

DEFAULT_URI = "tcp://localhost:5559"
DEFAULT_TIMEOUT = 30.0
"""Seconds: a server that restarts with a large journal is back before."""

READS = frozenset(
    name
    for name in {name for functions in TABLE.values() for name in functions}
    if all(functions[name].kind == "read" for functions in TABLE.values() if name in functions)
)
"""The functions that only read, whatever is at the path."""

_NO_NAMES: dict[str, Any] = {}
"""What a request for a value has of named arguments: one for all of them, as none changes it."""

_IDEMPOTENT = frozenset({"history", "save"})
"""Functions of the whole tree that may happen twice."""

_BLOCKS = (
    "a query of pyzdb waits for its answer in a running event loop, and all tasks with it: "
    "`await asyncio.to_thread(...)` runs it aside"
)

OnWait = Callable[[str, float], None]

_connections: weakref.WeakSet[Connection] = weakref.WeakSet()

_inherited: list[Any] = []
"""What a forked process has of its parent's connections: it must neither use nor close that."""


def _after_fork() -> None:
    for connection in _connections:
        connection._begin_anew()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)


def client(
    write_uri: str = DEFAULT_URI, read_uri: str | None = None, *, timeout: float = DEFAULT_TIMEOUT
) -> tuple[Any, Connection]:
    """Return ``(db, connection)``: the lazy tree of a server, and the way to it.

    Reads go to ``read_uri`` (None: all goes to ``write_uri``), and to ``write_uri`` with a warning
    in the log as long as no read-only server answers there. ``timeout`` is in seconds. Nothing
    is sent before the first query, so the server may be started later. Close the connection, or
    use it in a `with` block. Raises AddressError for what is not an address.
    """
    connection = Connection(write_uri, read_uri, timeout)
    return Root(connection), connection


class Connection:
    """The way to a server, for all threads of a process.

    ``on_wait`` may be set to a function ``(reason, seconds)`` that is called while a query waits:
    "silent", "locked", "saving" or "behind", and for how long by now.
    """

    def __init__(self, write_uri: str, read_uri: str | None, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout!r}")
        for uri in (write_uri, read_uri):
            if uri is not None:
                check(uri)
        self.write_uri = write_uri
        self.read_uri = read_uri
        self.timeout = timeout
        self.on_wait: OnWait | None = None
        self.closed = False
        self._may_warn = True
        self._reader_is_away = False
        self.seen = 0  # the newest commit that a reply has shown
        self.ipv6: dict[str, bool] = {}
        self._begin()
        _connections.add(self)

    def _begin(self) -> None:
        self._own = _Own()
        self._opening = threading.RLock()  # a signal handler may begin a session meanwhile
        self._context: Context | None = None
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()

    def exec(self, source: str) -> str:
        """Run Python source in the server, and return what it printed. Raises ExecRefused, and
        ExecFailed with what it printed when it fails."""
        printed: str = self._do(Request("exec", 2, command=source))
        return printed

    def fetch(self, index: Path) -> Any:
        """Return what is at a path, or raise why there is nothing."""
        return self._read(Request("read", 2, index, None, (), _NO_NAMES))

    def query(self, command: Command) -> Any:
        """Do one command and return its result, or raise its error."""
        index, func = command.index, command.func
        if func in READS:
            return self._read(Request("read", 2, index, func, command.args, command.kwargs))
        request = Request("write", 2, index, func, command.args, command.kwargs)
        return self._do(request, once=bool(index) or func not in _IDEMPOTENT)

    def _read(self, request: Request) -> Any:
        uri = self.read_uri
        idle, session = self._take_session()
        try:
            if uri is not None:
                # What this process has seen, and what it has written, is there in all it reads.
                request.at_least = self.seen
                if self._reader_is_away:
                    uri = session.reader()
            return session.ask(request, uri)
        finally:
            idle.append(session)

    def _do(self, request: Request, once: bool = True) -> Any:
        idle, session = self._take_session()
        try:
            return session.do(request) if once else session.ask(request)
        finally:
            idle.append(session)

    def _take_session(self) -> tuple[list[Session], Session]:
        """A session of this thread that is not in use, and the list that it goes back to."""
        if self._may_warn and "asyncio" in sys.modules and current_task() is not None:
            self._may_warn = False
            warnings.warn(_BLOCKS, RuntimeWarning, stacklevel=5)
        idle = self._own.idle
        return idle, idle.pop() if idle else self._begin_session()

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Any]:
        """Do all commands or none, and return their results."""
        request = Request("batch", 2, commands=cast(tuple[Command, ...], commands))
        results: list[Any] = self._do(request)
        return results

    def lock(self, timeout: float | None = None, lease: float | None = None) -> None:
        """Wait for the lock of the whole tree. Raises LockTimeout."""
        idle, session = self._take_session()
        try:
            session.lock(timeout, lease)
        finally:
            idle.append(session)

    def unlock(self) -> None:
        """Give the lock back. Raises LockError when this thread does not hold it."""
        idle, session = self._take_session()
        try:
            session.unlock()
        finally:
            idle.append(session)

    def close(self) -> None:
        """Close every socket; what another thread waits for raises ConnectionClosed.

        A lock that is still held is given back, if the server answers soon.
        """
        if self.closed:
            return
        if self._own.holder.token is not None:
            self.timeout = min(self.timeout, GOODBYE)
            with contextlib.suppress(PyzdbError):  # then its lease will end
                self.unlock()
        with self._opening:
            if self.closed:  # by another thread, meanwhile
                return
            self.closed = True
            sessions = list(self._sessions)
            self._own = _Own()
        if self._context is not None:
            # The end of the context wakes those who wait; then each session can be closed.
            ending = threading.Thread(target=self._context.term)
            ending.start()
            for session in sessions:
                session.close()
            ending.join()
            for session in sessions:
                session.give_back_lock()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "closed", True) and self._context is not None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            if not sys.is_finalizing():  # then no thread can begin, and the system closes all
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{state} connection to {self.write_uri}>"

    def turn(self, is_away: bool) -> None:
        """Let reads go to the server that writes, or to those that only read again."""
        if self._reader_is_away == is_away:
            return  # by another thread, meanwhile
        self._reader_is_away = is_away
        # Most clients never need it, and their import is measured.
        import logging

        logger = logging.getLogger(__name__)
        if is_away:
            logger.warning(
                "no read-only server answers at %s (`python server.py -ro` starts one): "
                "until one does, reads go to %s",
                self.read_uri,
                self.write_uri,
            )
        else:
            logger.info("reads go to %s again", self.read_uri)

    def tell(self, reason: str, seconds: float) -> None:
        if self.on_wait is not None:
            self.on_wait(reason, seconds)

    def _begin_session(self) -> Session:
        with self._opening:
            if self.closed:
                raise ConnectionClosed(f"{self!r}: make another one with client()")
            if self._context is None:
                context = new_context()
                if self._context is None:  # still, as a signal handler may have begun meanwhile
                    self._context = context
            session = Session(self, self._context, self._own.holder)
            self._sessions.add(session)
        return session

    def _begin_anew(self) -> None:
        """Begin again in a forked process."""
        if not self.closed:
            _inherited.append((self._context, self._own, self._sessions))
            self._begin()


class _Own(threading.local):
    """What a thread has of a connection: the sessions that are ``idle``, and its lock."""

    def __init__(self) -> None:
        self.idle: list[Session] = []
        self.holder = Holding()

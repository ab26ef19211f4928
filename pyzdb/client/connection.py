"""The client: proxies over ZeroMQ.

Rules this module keeps:

- Each thread has drivers (driver.py) of its own, mostly one. A process that was forked begins new
  ones. No other thread uses their sockets; one that closes them waits until they are not in use.
- A driver is taken out of the list of those that are idle while it is used, so that a query of a
  signal handler, or of a finalizer, in the middle of another one has another driver. The lock is
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

from pyzdb.client.driver import GOODBYE, Driver
from pyzdb.errors import ConnectionClosed, PyzdbError
from pyzdb.operations.table import TABLE
from pyzdb.paths import Path, Value
from pyzdb.protocol.commands import Command, Get
from pyzdb.protocol.holding import Holding
from pyzdb.protocol.requests import Batch, Exec, Read, Request, Write
from pyzdb.protocol.session import Target
from pyzdb.protocol.waits import USUAL_WAITS, Waits
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

_NO_NAMES: dict[str, Value] = {}
"""The named arguments of a request for a value: one dict for all of them, as none changes it."""

_IDEMPOTENT = frozenset({"history", "save"})
"""Functions of the whole tree that may happen twice."""

_BLOCKS = (
    "a query of pyzdb waits for its answer in a running event loop, and all tasks with it: "
    "`await asyncio.to_thread(...)` runs it aside"
)

OnWait = Callable[[str, float], None]

_connections: weakref.WeakSet[Connection] = weakref.WeakSet()

_inherited: list[object] = []
"""What a forked process has of its parent's connections: it must neither use nor close that."""


def _after_fork() -> None:
    for connection in _connections:
        connection._begin_anew()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)


def client(
    write_uri: str = DEFAULT_URI, read_uri: str | None = None, *, timeout: float = DEFAULT_TIMEOUT
) -> tuple[Root, Connection]:
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
    "silent", "locked", "saving" or "behind", and for how long by now. ``waits`` is not an option
    of `client()`, since shorter ones than the usual flood a slow server.
    """

    def __init__(
        self,
        write_uri: str,
        read_uri: str | None,
        timeout: float,
        *,
        waits: Waits = USUAL_WAITS,
    ) -> None:
        _check_timeout(timeout)
        for uri in (write_uri, read_uri):
            if uri is not None:
                check(uri)
        self.write_uri = write_uri
        self.read_uri = read_uri
        self.on_wait: OnWait | None = None
        self.closed = False
        self.ipv6: dict[str, bool] = {}
        self._target = Target(write_uri, read_uri, timeout, waits)
        self._may_warn = True
        self._begin()
        _connections.add(self)

    def _begin(self) -> None:
        self._own = _Own()
        self._opening = threading.RLock()  # a signal handler may begin a driver meanwhile
        self._context: Context | None = None
        self._drivers: weakref.WeakSet[Driver] = weakref.WeakSet()

    @property
    def timeout(self) -> float:
        """Seconds of silence after which a query raises ServerTimeout; it may be set."""
        return self._target.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        _check_timeout(seconds)
        self._target.timeout = seconds

    def exec(self, source: str) -> str:
        """Run Python source in the server, and return what it printed. Raises ExecRefused, and
        ExecFailed with what it printed when it fails."""
        printed: str = self._do(Exec(command=source, version=2))
        return printed

    def fetch(self, index: Path) -> Value:
        """Return what is at a path, or raise why there is nothing."""
        return self._read(Read(index, None, (), _NO_NAMES, version=2))

    def query(self, command: Command) -> Value:
        """Do one command and return its result, or raise its error."""
        index, func = command.index, command.func
        if func in READS:
            return self._read(Read(index, func, command.args, command.kwargs, version=2))
        request = Write(index, func, command.args, command.kwargs, version=2)
        return self._do(request, once=bool(index) or func not in _IDEMPOTENT)

    def _read(self, request: Request) -> Value:
        idle, driver = self._take_driver()
        try:
            # Most have one address, and a read is what takes the least time of all.
            return driver.ask(request) if self.read_uri is None else driver.read(request)
        finally:
            idle.append(driver)

    def _do(self, request: Request, once: bool = True) -> Value:
        idle, driver = self._take_driver()
        try:
            return driver.do(request) if once else driver.ask(request)
        finally:
            idle.append(driver)

    def _take_driver(self) -> tuple[list[Driver], Driver]:
        """A driver of this thread that is not in use, and the list that it goes back to."""
        if self._may_warn and "asyncio" in sys.modules and current_task() is not None:
            self._may_warn = False
            warnings.warn(_BLOCKS, RuntimeWarning, stacklevel=5)
        idle = self._own.idle
        return idle, idle.pop() if idle else self._begin_driver()

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Value]:
        """Do all commands or none, and return their results."""
        # A Get is sent as a Command without its last fields, and read as one: to decode it a
        # request needs the type of what is read, and there is no second one for what is sent.
        request = Batch(commands=commands, version=2)  # type: ignore[arg-type]  # the Gets in it
        results: list[Value] = self._do(request)
        return results

    def lock(self, timeout: float | None = None, lease: float | None = None) -> None:
        """Wait for the lock of the whole tree. Raises LockTimeout."""
        idle, driver = self._take_driver()
        try:
            driver.lock(timeout, lease)
        finally:
            idle.append(driver)

    def unlock(self) -> None:
        """Give the lock back. Raises LockError when this thread does not hold it."""
        idle, driver = self._take_driver()
        try:
            driver.unlock()
        finally:
            idle.append(driver)

    def close(self) -> None:
        """Close every socket; what another thread waits for raises ConnectionClosed.

        A lock that is still held is given back, if the server answers soon.
        """
        if self.closed:
            return
        if self._own.holding.token is not None:
            self.timeout = min(self.timeout, GOODBYE)
            with contextlib.suppress(PyzdbError):  # then its lease will end
                self.unlock()
        with self._opening:
            if self.closed:  # by another thread, meanwhile
                return
            self.closed = True
            drivers = list(self._drivers)
            self._own = _Own()
        if self._context is not None:
            # The end of the context wakes those who wait; then each driver can be closed.
            ending = threading.Thread(target=self._context.term)
            ending.start()
            for driver in drivers:
                driver.close()
            ending.join()
            for driver in drivers:
                driver.give_back_lock()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Where it was not made, it has nothing to close.
        if getattr(self, "_context", None) is not None and not self.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            if not sys.is_finalizing():  # then no thread can begin, and the system closes all
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{state} connection to {self.write_uri}>"

    def turned(self, is_away: bool) -> None:
        """Say that reads go to the server that writes, or to those that only read again."""
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
        """Say what a query waits for, and for how long by now."""
        if self.on_wait is not None:
            self.on_wait(reason, seconds)

    def _begin_driver(self) -> Driver:
        with self._opening:
            if self.closed:
                raise ConnectionClosed(f"{self!r}: make another one with client()", self.write_uri)
            if self._context is None:
                context = new_context()
                if self._context is None:  # still, as a signal handler may have begun meanwhile
                    self._context = context
            driver = Driver(self, self._target, self._context, self._own.holding)
            self._drivers.add(driver)
        return driver

    def _begin_anew(self) -> None:
        """Begin again in a forked process."""
        if not self.closed:
            _inherited.append((self._context, self._own, self._drivers))
            self._begin()


def _check_timeout(seconds: float) -> None:
    if not isinstance(seconds, int | float):
        kind = type(seconds).__name__
        raise TypeError(f"a timeout must be a number of seconds, not a value of type {kind!r}")
    if not seconds > 0:
        raise ValueError(f"a timeout must be more than 0 seconds, not {seconds!r}")


class _Own(threading.local):
    """What a thread has of a connection: the drivers that are ``idle``, and its lock."""

    def __init__(self) -> None:
        self.idle: list[Driver] = []
        self.holding = Holding(current_task)


def current_task() -> object:
    """The asyncio task that runs, or its loop; None where there is none."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    loop = asyncio.events._get_running_loop()
    return None if loop is None else asyncio.current_task(loop) or loop

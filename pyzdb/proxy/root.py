"""The root of the tree: a path like any other, and what is done to the tree as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from pyzdb.errors import PyzdbError
from pyzdb.paths import Path, Value
from pyzdb.protocol.commands import Command, Get
from pyzdb.proxy.batch import Batch, Collector
from pyzdb.proxy.path import Proxy


class Service(Protocol):
    """Where the commands of a tree go."""

    def fetch(self, index: Path) -> Value:
        """Return what is at a path, or raise why there is nothing."""
        ...

    def query(self, command: Command) -> Value:
        """Do one command and return its result, or raise its error."""
        ...

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Value]:
        """Do all commands or none, and return their results."""
        ...

    def lock(self, timeout: float | None, lease: float | None) -> None:
        """Wait for the lock of the whole tree."""
        ...

    def unlock(self) -> None:
        """Give the lock back."""
        ...


class Root(Proxy, eq=False, frozen=True):
    """The whole tree, and what is done to it as a whole."""

    if TYPE_CHECKING:
        _service: Service

    def undo(self, steps: int = 1) -> None:
        """Take back the newest steps. Raises HistoryError when there are fewer."""
        self._call("undo", steps)

    def redo(self, steps: int = 1) -> None:
        """Do undone steps again. Raises HistoryError when there are fewer."""
        self._call("redo", steps)

    def history(self, limit: int | None = None) -> list[dict[str, Value]]:
        """The steps that can be undone, the newest first, at most ``limit``.

        Each is a dict: "what" (function), "where" (path as text), "when" (datetime, UTC), "who"
        (id of the client).
        """
        steps: list[dict[str, Value]] = self._call("history", limit)
        return steps

    def save(self) -> None:
        """Write the whole tree to its file; when this returns, the file is whole and new."""
        self._call("save")

    def lock(self, timeout: float | None = None, lease: float | None = None) -> Lock:
        """Have the tree for this thread alone, reads included, until `unlock()`.

        Also for `with db.lock():`. ``timeout`` (seconds, default: that of the connection) is
        how long to wait: LockTimeout. ``lease`` (seconds, default 30) is how long the lock
        stays when it is not used.
        """
        self._service.lock(timeout, lease)
        return Lock(self._service)

    def unlock(self) -> None:
        """Give the lock back. Raises LockError when this thread does not hold it."""
        self._service.unlock()

    def batch(self) -> Batch:
        """Collect commands in a `with` block and send them as one message at its end.

        All of them are done or none, as one step of the history. An error tells the number of
        its command, from 0 on, and nothing is sent when the block itself raises.
        """
        return Batch(Collector(self._service))


class Lock:
    """A lock that is held; leaving a `with` block gives it back."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._service.unlock()
        except PyzdbError:
            # Why the block failed is the better answer, if it did.
            if error is None:
                raise

    async def __aenter__(self) -> NoReturn:
        self._service.unlock()
        raise TypeError(
            "the lock is that of a thread: it is taken by `with`, not by `async with`; "
            "it was given back"
        )

    async def __aexit__(self, *_: object) -> None:
        """Only here for Python to come as far as `__aenter__`, which gives the lock back."""

    def __repr__(self) -> str:
        return "<lock of db>"

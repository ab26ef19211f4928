"""Commands that are collected in a `with` block, and sent as one message at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyzdb.paths import Path, Value
from pyzdb.protocol.commands import Command, Get
from pyzdb.proxy.path import Proxy
from pyzdb.proxy.result import Result


class Target(Protocol):
    """Where a batch goes."""

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Value]:
        """Do all commands or none, and return their results."""
        ...


_ONE_BLOCK = (
    "a batch collects commands in one `with` block and sends them at its end, so nothing can be "
    "asked of it before or after; begin another one with db.batch()"
)


class Collector:
    """The service behind a batch: keeps its commands until it ends."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._commands: list[Command | Get] = []
        self._results: list[Result] = []
        self._is_open: bool | None = None

    def fetch(self, index: Path) -> Result:
        return self.query(Get(index))

    def query(self, command: Command | Get) -> Result:
        if not self._is_open:
            raise RuntimeError(_ONE_BLOCK)
        result = Result()
        self._commands.append(command)
        self._results.append(result)
        return result

    def begin(self) -> None:
        if self._is_open is not None:
            raise RuntimeError(_ONE_BLOCK)
        self._is_open = True

    def end(self, send: bool) -> None:
        self._is_open = False
        if send and self._commands:
            values = self._target.batch(tuple(self._commands))
            for result, value in zip(self._results, values, strict=True):
                result._known = value


class Batch(Proxy, eq=False, frozen=True):
    """The tree within `with db.batch() as batch:`; every command gives a `Result`."""

    if TYPE_CHECKING:
        _service: Collector

    def __enter__(self) -> Batch:
        self._service.begin()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._service.end(send=error is None)

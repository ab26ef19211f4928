"""A database in this process behind proxies, which keeps what they sent."""

from __future__ import annotations

from typing import Any

import pytest

from pyzdb.paths import Path
from pyzdb.protocol.commands import Command, Get
from pyzdb.proxy.root import Root
from pyzdb.storage.memory import MemoryStore
from tests.support.engine import Engine


class Service:
    """Sends commands to a database in this process, and keeps what it sent."""

    def __init__(self) -> None:
        self.engine = Engine(MemoryStore())
        self.sent: list[Any] = []
        self.unlock_error: Exception | None = None

    def fetch(self, index: Path) -> Any:
        return self.query(Command(index))

    def query(self, command: Command) -> Any:
        try:
            return self.engine.call(
                command.func, *command.args, at=command.index, kwargs=command.kwargs
            )
        finally:
            self.sent.append(command.func)

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Any]:
        results: list[Any] = self.engine.batch(*commands)
        self.sent.append([command.func for command in commands])
        return results

    def lock(self, timeout: float | None, lease: float | None) -> None:
        self.sent.append(("lock", timeout, lease))

    def unlock(self) -> None:
        self.sent.append("unlock")
        if self.unlock_error is not None:
            raise self.unlock_error


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def db(service: Service) -> Any:
    return Root(service)

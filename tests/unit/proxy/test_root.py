"""The tree as a whole: its lock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyzdb.errors import (
    LockError,
)
from tests.unit.proxy.conftest import Service


def test_lock_and_unlock_are_passed_on(db: Any, service: Service) -> None:
    db.lock(timeout=3.0, lease=5.0)
    db.unlock()
    assert service.sent == [("lock", 3.0, 5.0), "unlock"]


def test_a_lock_is_given_back_at_the_end_of_its_block(db: Any, service: Service) -> None:
    with db.lock() as lock:
        assert repr(lock) == "<lock of db>"
        db["x"] = 1
    assert service.sent == [("lock", None, None), "__setitem__", "unlock"]


def test_a_block_that_raises_gives_the_lock_back(db: Any, service: Service) -> None:
    with pytest.raises(ZeroDivisionError), db.lock():
        raise ZeroDivisionError
    assert service.sent == [("lock", None, None), "unlock"]


def test_a_lock_in_async_with_is_given_back_and_the_error_says_what_to_do(
    db: Any, service: Service
) -> None:
    async def work() -> None:
        async with db.lock():
            raise AssertionError("the block was entered")

    with pytest.raises(TypeError, match="by `with`, not by `async with`"):
        asyncio.run(work())
    assert service.sent == [("lock", None, None), "unlock"]


def test_a_lost_lock_is_an_error_unless_the_block_has_its_own(db: Any, service: Service) -> None:
    service.unlock_error = LockError("the lock is lost")
    with pytest.raises(LockError), db.lock():
        pass
    with pytest.raises(ZeroDivisionError), db.lock():
        raise ZeroDivisionError

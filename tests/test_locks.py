"""The lock of the whole tree: who is served, who waits, and who comes too late."""

from __future__ import annotations

from typing import Any

import pytest
from engine import Engine, Start

from pyzdb.errors import LockError
from pyzdb.locks import DEFAULT_LEASE, MAX_LEASE
from pyzdb.messages import Command, Envelope


@pytest.fixture
def engine(start: Start) -> Engine:
    """A database with something in it."""
    engine = start(lock_uri="tcp://localhost:5558")
    engine.put("x", 1)
    return engine


def lock(engine: Engine, **fields: Any) -> int:
    """Take the lock, and return its token."""
    token: int = engine.get("lock", **fields)["token"]
    return token


def test_a_lock_says_where_to_go_with_which_token(engine: Engine) -> None:
    granted = engine.get("lock", lease=5.0)
    assert granted == {"locked": True, "uri": "tcp://localhost:5558", "token": 2, "lease": 5.0}
    assert engine.get("unlock", token=2) == {"locked": False}


def test_the_token_is_the_sequence_of_the_lock_and_so_only_grows(engine: Engine) -> None:
    tokens = []
    for _ in range(3):
        tokens.append(lock(engine))
        assert tokens[-1] == engine.store.sequence
        engine.get("unlock", token=tokens[-1])
        engine.restart()
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize(
    "request_",
    [
        {"mode": "read"},
        {"mode": "readall"},
        {"mode": "write", "func": "clear"},
        {"mode": "write", "func": "undo"},
        {"mode": "write", "func": "save"},
        {"mode": "write", "func": "history"},
        {"mode": "batch", "commands": (Command((), "clear"),)},
        {"mode": "lock"},
        {"mode": "unlock"},
        {"mode": "exec", "command": "db.clear()"},
    ],
)
def test_everybody_else_waits_reads_included(engine: Engine, request_: dict[str, Any]) -> None:
    token = lock(engine)
    assert engine.ask(**request_).wait == "locked"
    assert engine.get("read", index=("x",), token=token) == 1
    assert engine.get("hello") == {"sequence": 2}
    engine.get("unlock", token=token)
    assert engine.ask(**request_).wait != "locked"


def test_the_holder_reads_and_writes(engine: Engine) -> None:
    token = lock(engine)
    engine.put("x", 2, token=token, on_lock_socket=True)
    assert engine.get("read", True, index=("x",), token=token) == 2
    engine.get("unlock", True, token=token)
    assert engine.tree == {"x": 2}


def test_the_end_of_its_lease_frees_a_lock(engine: Engine) -> None:
    token = lock(engine)
    engine.pass_seconds(DEFAULT_LEASE - 0.001)
    assert engine.ask("read").wait == "locked"
    engine.pass_seconds(0.001)
    assert engine.tree == {"x": 1}
    with pytest.raises(LockError, match="lost"):
        engine.get("read", token=token)


def test_use_renews_a_lease(engine: Engine) -> None:
    token = lock(engine, lease=2.0)
    for _ in range(5):
        engine.pass_seconds(1.9)
        engine.get("read", index=("x",), token=token)
    assert engine.ask("read").wait == "locked"
    engine.pass_seconds(2.0)
    assert engine.ask("read").wait is None


def test_a_lock_does_not_see_the_date_change(engine: Engine) -> None:
    lock(engine)
    engine.wall.now += 100_000
    assert engine.ask("read").wait == "locked"
    engine.wall.now -= 200_000
    engine.monotonic.now += DEFAULT_LEASE
    assert engine.ask("read").wait is None


@pytest.mark.parametrize("lease", [0.0, -1.0, MAX_LEASE + 1])
def test_a_lease_has_a_sensible_length(engine: Engine, lease: float) -> None:
    with pytest.raises(LockError, match="a lease is"):
        lock(engine, lease=lease)
    assert engine.ask("read").wait is None
    assert lock(engine, lease=MAX_LEASE)


@pytest.mark.parametrize("has_new_holder", [False, True])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_late_message_of_an_old_holder_is_refused(
    engine: Engine, has_new_holder: bool, is_restarted: bool
) -> None:
    old = lock(engine)
    engine.pass_seconds(DEFAULT_LEASE)
    new = lock(engine) if has_new_holder else None
    if is_restarted and has_new_holder:
        engine.restart()
    for request_ in (
        {"mode": "write", "func": "clear"},
        {"mode": "batch", "commands": (Command((), "clear"),)},
        {"mode": "read"},
        {"mode": "unlock"},
        {"mode": "lock"},
        {"mode": "exec", "command": "db.clear()"},
    ):
        for on_lock_socket in (False, True):
            with pytest.raises(LockError):
                engine.get(**request_, on_lock_socket=on_lock_socket, token=old)
    assert engine.get("readall", token=new) == {"x": 1}


def test_the_journal_knows_of_the_end_of_a_lease_before_the_next_write(engine: Engine) -> None:
    lock(engine)
    engine.pass_seconds(DEFAULT_LEASE)
    assert engine.tree == {"x": 1}
    assert engine.store.sequence == 2  # a read needs no record
    engine.put("x", 2)
    assert engine.store.sequence == 4
    engine.restart()
    assert engine.tree == {"x": 2}


def test_a_lease_that_ends_without_a_message_is_noticed(engine: Engine) -> None:
    lock(engine)
    engine.pass_seconds(DEFAULT_LEASE)
    engine.db.tick()
    assert engine.tree == {"x": 1}


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_lock_survives_a_restart_with_a_full_lease(engine: Engine, is_saved: bool) -> None:
    token = lock(engine, lease=10.0)
    engine.pass_seconds(9)
    if is_saved:
        engine.db.save()
    engine.restart()
    engine.pass_seconds(9)
    assert engine.ask("read").wait == "locked"
    assert engine.get("read", index=("x",), token=token) == 1
    engine.pass_seconds(10)
    assert engine.ask("read").wait is None


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_restart_after_the_end_of_a_lease_finds_its_way(engine: Engine, is_saved: bool) -> None:
    token = lock(engine)
    engine.pass_seconds(DEFAULT_LEASE)
    assert engine.ask("read").wait is None
    if is_saved:
        engine.db.save()
        engine.put("x", 2)
    engine.restart()
    engine.pass_seconds(DEFAULT_LEASE)
    with pytest.raises(LockError):
        engine.get("read", token=token)
    engine.put("y", 3)
    engine.restart()
    assert engine.tree == {"x": 2 if is_saved else 1, "y": 3}


def test_unlock_without_the_lock_is_an_error(engine: Engine) -> None:
    with pytest.raises(LockError):
        engine.get("unlock")
    with pytest.raises(LockError):
        engine.get("unlock", token=1)
    assert "LockError" in engine.old(mode="unlock", action="unlock")


def test_the_holder_cannot_lock_again(engine: Engine) -> None:
    token = lock(engine)
    with pytest.raises(LockError, match="already"):
        engine.get("lock", token=token)
    engine.get("unlock", token=token)
    assert engine.tree == {"x": 1}


def test_nobody_without_the_lock_is_served_on_its_socket(engine: Engine) -> None:
    with pytest.raises(LockError):
        engine.get("read", on_lock_socket=True)
    lock(engine)
    with pytest.raises(LockError):
        engine.get("read", on_lock_socket=True)


# --- version 1 -----------------------------------------------------------------------------------


def test_version_1_locks_by_its_socket(engine: Engine) -> None:
    locked = engine.old(mode="lock", action="lock")
    assert locked == {"locked": True, "uri": "tcp://localhost:5558"}
    clear = {"mode": "write", "index": [], "func": "clear", "args": [], "kwargs": {}}
    assert engine.old(on_lock_socket=True, **clear) is None
    assert engine.ask("read").wait == "locked"
    assert engine.old(on_lock_socket=True, mode="unlock", action="unlock") == {"locked": False}
    assert engine.tree == {}


def test_version_1_waits_for_its_answer(engine: Engine) -> None:
    token = lock(engine)
    asked = [
        engine.old(mode="read", index=["x"], func=None, args=[], kwargs={}),
        engine.old(mode="lock", action="lock"),
    ]
    assert all(isinstance(each, Envelope) for each in asked)
    assert [engine.db.answer(each) for each in asked] == asked
    engine.get("unlock", token=token)
    assert engine.db.answer(asked[0]) == b"1"
    assert engine.db.answer(asked[1]) == b'{"locked":true,"uri":"tcp://localhost:5558"}'


def test_the_lock_of_a_version_1_client_ends_too(engine: Engine) -> None:
    engine.old(mode="lock", action="lock")
    engine.pass_seconds(DEFAULT_LEASE)
    late = engine.old(on_lock_socket=True, mode="write", index=[], func="clear")
    assert "LockError" in late
    assert engine.tree == {"x": 1}
    lock(engine)
    assert "LockError" in engine.old(on_lock_socket=True, mode="write", index=[], func="clear")


def test_the_lock_of_a_version_1_client_survives_a_restart(engine: Engine) -> None:
    engine.old(mode="lock", action="lock")
    engine.restart()
    assert engine.ask("read").wait == "locked"
    assert engine.old(on_lock_socket=True, mode="readall") == {"x": 1}

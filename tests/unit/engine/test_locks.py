"""The lock of the whole tree: who is served, who waits, and who comes too late."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.engine.commits import STAMP
from pyzdb.engine.lock_line import FIRST_RETURN, LONGEST_RETURN, MAX_WAITING, PLACE_KEPT, Line
from pyzdb.errors import LockError, MessageError, OutcomeUnknown
from pyzdb.protocol.commands import Command
from pyzdb.protocol.leases import DEFAULT_LEASE, MAX_LEASE
from pyzdb.protocol.requests import Configure, Envelope, Renew, Request, TakeLock, encode_request
from pyzdb.storage.memory import MemoryStore
from tests.support.engine import Engine, Start

EVENTS = ["lock", "lock", "read", "unlock", "give up", "time"]
"""What a client may do; time passes too."""


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
    token = granted.pop("token")
    assert granted == {"locked": True, "uri": "tcp://localhost:5558", "lease": 5.0}
    assert engine.get("unlock", token=token) == {"locked": False}


def test_a_token_is_a_number_that_nobody_can_guess(engine: Engine) -> None:
    tokens = []
    for _ in range(20):
        tokens.append(lock(engine))
        for guess in (engine.store.sequence, engine.get("hello")["sequence"], tokens[-1] + 1):
            with pytest.raises(LockError):
                engine.get("read", token=guess)
        engine.get("unlock", token=tokens[-1])
    assert len(set(tokens)) == 20
    assert 2**56 < max(tokens) < 2**63


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_token_is_the_same_after_a_restart(engine: Engine, is_saved: bool) -> None:
    token = lock(engine)
    if is_saved:
        engine.db.save()
    engine.restart()
    assert engine.get("readall", token=token) == {"x": 1}
    engine.get("unlock", token=token)


def test_a_lock_of_an_older_version_has_the_sequence_of_its_record_as_token(engine: Engine) -> None:
    record = STAMP.pack(engine.wall()) + encode_request(TakeLock(lease=5.0, version=2))
    sequence = engine.store.append(record)
    engine.restart()
    assert engine.get("readall", token=sequence) == {"x": 1}
    assert engine.ask("read").wait == "locked"
    engine.pass_seconds(5)
    assert engine.ask("read").wait is None


def test_a_lock_in_a_snapshot_of_an_older_version_gets_a_full_lease() -> None:
    store = MemoryStore()
    store.open()
    store.save(lambda: {"tree": {"x": 1}, "lock": (5, 10.0, 2)})
    store.close()
    engine = Engine(store)
    engine.pass_seconds(9)
    assert engine.ask("read").wait == "locked"
    assert engine.get("readall", token=5) == {"x": 1}
    engine.pass_seconds(10)
    assert engine.tree == {"x": 1}


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
    with pytest.raises(LockError, match="a lease is") as caught:
        lock(engine, lease=lease)
    assert caught.type is LockError, "clients of 0.1.0 know no finer name"
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
def test_a_lease_goes_on_over_restarts_with_what_was_left_of_it(
    engine: Engine, is_saved: bool
) -> None:
    token = lock(engine, lease=10.0)
    for _ in range(3):
        engine.pass_seconds(3)
        if is_saved:
            engine.db.save()
        engine.restart()
    assert engine.ask("read").wait == "locked"
    engine.pass_seconds(1)
    assert engine.tree == {"x": 1}
    with pytest.raises(LockError, match="lost"):
        engine.get("read", token=token)


@pytest.mark.parametrize("version", [1, 2])
def test_a_lease_is_counted_from_the_last_record_of_its_holder(
    engine: Engine, version: int
) -> None:
    if version == 1:
        engine.old(mode="lock", action="lock")
        proof: dict[str, Any] = {"on_lock_socket": True}
    else:
        proof = {"token": lock(engine)}
    engine.pass_seconds(DEFAULT_LEASE - 1)
    engine.put("x", 2, **proof)
    engine.pass_seconds(DEFAULT_LEASE - 1)
    engine.restart()
    assert engine.ask("read").wait == "locked"
    engine.pass_seconds(1)
    assert engine.tree == {"x": 2}


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_restart_takes_no_lock_from_who_only_reads(engine: Engine, is_saved: bool) -> None:
    token = lock(engine, lease=10.0)
    for _ in range(6):
        engine.pass_seconds(6)
        assert engine.get("read", index=("x",), token=token) == 1
        sequence = engine.store.sequence
        engine.db.tick()
        engine.db.tick()
        engine.db.flush()
        assert engine.store.sequence == sequence + 1
        if is_saved:
            engine.db.save()
        engine.restart()
    engine.pass_seconds(9)
    assert engine.ask("read").wait == "locked"
    engine.db.tick()
    assert engine.get("read", index=("x",), token=token) == 1


def test_a_lock_that_is_not_used_needs_no_record(engine: Engine) -> None:
    lock(engine, lease=10.0)
    sequence = engine.store.sequence
    for _ in range(9):
        engine.pass_seconds(1)
        engine.db.tick()
    assert engine.store.sequence == sequence


@pytest.mark.parametrize("kind", [Renew, Configure])
def test_no_client_may_send_a_record_of_the_server(engine: Engine, kind: type[Request]) -> None:
    reply = engine.reply(kind(version=2, token=lock(engine)))
    assert isinstance(reply.error, MessageError)
    assert "unknown mode" in str(reply.error)


def test_a_clock_that_was_set_back_gives_a_full_lease_at_most(engine: Engine) -> None:
    lock(engine, lease=10.0)
    engine.pass_seconds(5)
    engine.wall.now -= 100_000
    engine.restart()
    engine.pass_seconds(9)
    assert engine.ask("read").wait == "locked"
    engine.pass_seconds(1)
    assert engine.tree == {"x": 1}


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
    with pytest.raises(LockError, match="serves only the client that holds the lock"):
        engine.get("read", on_lock_socket=True)
    lock(engine)
    with pytest.raises(LockError, match="serves only the client that holds the lock"):
        engine.get("read", on_lock_socket=True)
    with pytest.raises(LockError, match="the lock is lost"):
        engine.get("read", token=1, on_lock_socket=True)


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


# --- what was granted and cannot be used ---------------------------------------------------------


def give_up(engine: Engine, client: str, number: int) -> Any:
    """What a client sends that has not heard whether it has the lock."""
    return engine.get("unlock", client=client, number=number)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_client_that_did_not_hear_of_its_lock_gives_it_back(
    engine: Engine, is_restarted: bool
) -> None:
    engine.get("lock", client="me", number=1)
    if is_restarted:
        engine.restart()
    assert give_up(engine, "me", 2) == {"locked": False}
    assert engine.tree == {"x": 1}
    engine.restart()
    assert engine.tree == {"x": 1}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_a_client_asked_for_before_it_gave_up_is_refused(
    engine: Engine, is_restarted: bool
) -> None:
    give_up(engine, "me", 2)
    if is_restarted:
        engine.restart()
    with pytest.raises(OutcomeUnknown):
        engine.get("lock", client="me", number=1)
    assert engine.tree == {"x": 1}
    assert engine.get("lock", client="me", number=3)["locked"] is True


def test_nobody_gives_back_the_lock_of_another(engine: Engine) -> None:
    token = lock(engine, client="me", number=1)
    assert give_up(engine, "other", 1) == {"locked": False}
    engine.restart()
    assert engine.ask("read").wait == "locked"
    engine.get("unlock", token=token)
    engine.old(mode="lock", action="lock")
    assert engine.ask("unlock", number=1).wait == "locked"


def test_to_give_up_is_no_use_of_the_lock(engine: Engine) -> None:
    lock(engine, lease=10.0)
    engine.pass_seconds(9)
    give_up(engine, "other", 1)
    engine.restart()
    engine.pass_seconds(1)
    assert engine.tree == {"x": 1}


# --- who is next ---------------------------------------------------------------------------------


def comes(engine: Engine, client: str, mode: str = "lock") -> int | None:
    """A client asks for the lock, or for something else, or asks again: its token, 0 when it was
    served without one, None when it has to wait."""
    reply = engine.ask(mode, client=client, number=1 if mode == "lock" else 0)
    if reply.wait is not None:
        return None
    assert reply.error is None, reply.error
    return int(reply.value["token"]) if mode == "lock" else 0


def test_the_lock_goes_to_those_who_wait_in_the_order_of_asking(engine: Engine) -> None:
    token = lock(engine)
    names = ["d", "b", "a", "c"]
    for name in names:
        assert comes(engine, name) is None
    got: list[str] = []
    engine.get("unlock", token=token)
    while len(got) < len(names):
        # They come back in any order, as often as they like, and so do others.
        for name in [*sorted(names), "new", *names]:
            new = None if name in got else comes(engine, name)
            if new is not None:
                got.append(name)
                engine.get("unlock", token=new)
        engine.pass_seconds(PLACE_KEPT / 2)
    assert [name for name in got if name != "new"] == names


def test_who_gives_the_lock_back_and_asks_again_is_the_last(engine: Engine) -> None:
    token = lock(engine, client="a", number=1)
    assert comes(engine, "b") is None
    engine.get("unlock", token=token)
    assert engine.ask("lock", client="a", number=2).wait == "locked"
    assert comes(engine, "b")


@pytest.mark.parametrize("mode", ["read", "readall", "write"])
def test_readers_are_served_between_two_holders(engine: Engine, mode: str) -> None:
    token = lock(engine)
    assert comes(engine, "first") is None
    assert comes(engine, "reader", mode) is None
    assert comes(engine, "second") is None
    engine.get("unlock", token=token)
    token = comes(engine, "first") or 0
    engine.get("unlock", token=token)
    # The lock is free, and it is the reader's turn; whoever else only reads need not wait.
    assert comes(engine, "second") is None
    assert comes(engine, "another", mode) == 0
    assert comes(engine, "second") is None
    assert comes(engine, "reader", mode) == 0
    assert comes(engine, "second")


def test_who_does_not_come_back_loses_its_place(engine: Engine) -> None:
    token = lock(engine)
    for name in ("dead", "too", "alive"):
        assert comes(engine, name) is None
    engine.get("unlock", token=token)
    engine.pass_seconds(PLACE_KEPT - 0.1)
    assert comes(engine, "alive") is None
    engine.pass_seconds(0.1)
    assert comes(engine, "alive")
    assert comes(engine, "dead") is None


def test_who_gives_up_leaves_the_line(engine: Engine) -> None:
    token = lock(engine)
    for name in ("impatient", "patient"):
        assert comes(engine, name) is None
    give_up(engine, "impatient", 2)
    engine.get("unlock", token=token)
    assert comes(engine, "patient")


def test_clients_of_version_1_have_their_turn(engine: Engine) -> None:
    token = lock(engine)
    old = engine.old(mode="lock", action="lock")
    assert isinstance(old, Envelope)
    assert comes(engine, "new") is None
    engine.get("unlock", token=token)
    assert comes(engine, "new") is None
    answer = engine.db.answer(old)
    assert isinstance(answer, bytes)
    assert engine.old(on_lock_socket=True, mode="unlock", action="unlock") == {"locked": False}
    assert comes(engine, "new")


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=60))
def test_whatever_clients_do_the_line_is_that_of_a_model(events: list[tuple[str, int]]) -> None:
    engine = Engine(MemoryStore())
    numbers = [1, 1, 1, 1]
    line: dict[int, float] = {}  # who waits, in order, and when each came last
    holder: tuple[int, int] | None = None
    for event, who in events:
        now = engine.monotonic.now
        while line and now - next(iter(line.values())) >= PLACE_KEPT:
            del line[next(iter(line))]
        if event == "time":
            engine.pass_seconds((who + 1) * PLACE_KEPT / 3)
        elif event == "unlock":
            if holder is not None:
                engine.get("unlock", token=holder[1])
                holder = None
        elif event == "give up":
            numbers[who] += 1
            give_up(engine, str(who), numbers[who])
            numbers[who] += 1
            line.pop(who, None)
            holder = None if holder is not None and holder[0] == who else holder
        elif holder is None or holder[0] != who:
            more: dict[str, Any] = {"number": numbers[who], "lease": MAX_LEASE}
            reply = engine.ask(event, client=str(who), **(more if event == "lock" else {}))
            is_free = holder is None and (event == "read" or next(iter(line), who) == who)
            assert (reply.wait is None) == is_free
            if not is_free:
                line[who] = now
                continue
            line.pop(who, None)
            if event == "lock":
                holder = (who, reply.value["token"])
                numbers[who] += 1


def test_the_first_in_line_comes_back_soon_and_the_others_rarely(engine: Engine) -> None:
    lock(engine)
    waits = []
    for name in range(60):
        waiting = engine.ask("lock", client=str(name), number=1).lock
        assert waiting is not None
        waits.append(waiting.back)
    assert waits == sorted(waits)
    assert waits[0] == FIRST_RETURN
    assert waits[-1] == LONGEST_RETURN
    engine.pass_seconds(0.5)
    first = engine.ask("lock", client="0", number=1).lock
    assert first is not None
    assert first.back == pytest.approx(0.05)


def test_the_line_is_bounded_and_the_dead_make_room() -> None:
    line = Line()
    for name in range(MAX_WAITING + 10):
        line.wait(name, 0.0, FIRST_RETURN)
    assert line.wait("late", 0.0, FIRST_RETURN) == LONGEST_RETURN
    line.leave(0)
    assert not line.is_first("late", 0.0)
    line.wait(1, PLACE_KEPT - 0.1, FIRST_RETURN)
    line.wait("late", PLACE_KEPT, FIRST_RETURN)
    line.leave(1)
    assert line.is_first("late", PLACE_KEPT)


# --- whose lock it is ----------------------------------------------------------------------------


def test_who_waits_is_told_whose_lock_it_is_and_since_when(engine: Engine) -> None:
    token = lock(engine, client="me\x1b[2J\n@here:12-ab", number=1)
    for _ in range(2):
        engine.pass_seconds(5)
        waiting = engine.ask("read").lock
        assert waiting is not None
        assert waiting.holder == "me\\x1b[2J\\n@here:12-ab since 2024-02-29 12:00:00 UTC"
        engine.restart()
    engine.get("unlock", token=token)


def test_the_log_says_whose_lock_it_was_that_ended(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    token = lock(engine, client="me@here:12-ab\n", number=1)
    engine.pass_seconds(DEFAULT_LEASE)
    with caplog.at_level("INFO"):
        engine.db.tick()
    [line] = caplog.messages
    assert "me@here:12-ab\\n since 2024-02-29 12:00:00 UTC" in line
    assert str(token) not in line

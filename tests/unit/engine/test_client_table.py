"""A request that is sent again: the same bytes come back or an error, and it happens once."""

from __future__ import annotations

from typing import Any

import pytest

from pyzdb.engine.client_table import MAX_CLIENTS, ClientTable
from pyzdb.errors import OutcomeUnknown
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import Batch, Call, Exec, Request, TakeLock, Write, encode_request
from tests.support.engine import Engine, Start


def numbered(number: int, func: str = "append", *args: Any, **fields: Any) -> Request:
    """Request ``number`` of the client "ann", which does something to the list `db['l']`."""
    fields.setdefault("client", "ann")
    return Write(("l",), func, args or (number,), number=number, **fields, version=2)


def name_of(request: Request) -> str:
    """What is asked for."""
    return (isinstance(request, Call) and request.func) or request.mode


REQUESTS = [
    numbered(7),
    numbered(7, "pop", 0),
    numbered(7, "remove", "no"),
    numbered(7, "no_function"),
    Write((), "undo", client="ann", number=7, version=2),
    Write((), "redo", client="ann", number=7, version=2),
    Batch(commands=(Command(("l",), "pop"), Command(("l",))), client="ann", number=7, version=2),
    TakeLock(client="ann", number=7, version=2),
    Exec(command="db['l'].append(8); print(len(db['l']))", client="ann", number=7, version=2),
]


@pytest.fixture
def engine(start: Start) -> Engine:
    """A database with a list of two."""
    engine = start(exec=True)
    engine.put("l", [1, (2,)])
    return engine


@pytest.mark.parametrize("request_", REQUESTS, ids=name_of)
def test_a_repeat_gets_the_same_bytes_and_does_nothing(engine: Engine, request_: Request) -> None:
    answer = engine.send(request_)
    done = engine.store.sequence
    tree = engine.db.tree.root
    before = repr(tree)
    engine.pass_seconds(1)
    assert engine.send(request_) == answer
    assert (engine.store.sequence, repr(tree)) == (done, before)


@pytest.mark.parametrize(
    "request_",
    [one for one in REQUESTS if name_of(one) not in ("remove", "redo", "no_function")],
    ids=name_of,
)
@pytest.mark.parametrize("is_saved", [False, True])
def test_a_repeat_gets_the_same_bytes_after_a_restart(
    engine: Engine, request_: Request, is_saved: bool
) -> None:
    answer = engine.send(request_)
    before = repr(engine.db.tree.root)
    if is_saved:
        engine.db.save()
    engine.restart()
    done = engine.store.sequence
    assert engine.send(request_) == answer
    assert (engine.store.sequence, repr(engine.db.tree.root)) == (done, before)


def test_a_request_that_had_to_wait_is_done_when_it_comes_back(engine: Engine) -> None:
    token = engine.get("lock", client="bob", number=1)["token"]
    waiting = engine.reply(numbered(1))
    assert waiting.wait == "locked"
    engine.get("unlock", token=token, client="bob", number=2)
    assert engine.reply(numbered(1)).wait is None
    assert engine.tree["l"] == [1, (2,), 1]


def test_a_lower_number_is_never_done(engine: Engine) -> None:
    for number in (1, 3):
        engine.send(numbered(number))
    for number in (1, 2):
        reply = engine.reply(numbered(number))
        assert isinstance(reply.error, OutcomeUnknown)
    assert engine.tree["l"] == [1, (2,), 1, 3]


def test_requests_without_a_number_are_done_each_time(engine: Engine) -> None:
    for _ in range(2):
        engine.call("append", 5, at=("l",), client="ann")
    assert engine.tree["l"] == [1, (2,), 5, 5]


# --- the table ---------------------------------------------------------------------------------


def test_each_client_has_its_own_numbers() -> None:
    answers = ClientTable()
    answers.remember("ann", 1, b"for ann", 1)
    assert answers.repeat("bob", 1, 0) is None
    assert answers.repeat("ann", 1, 0) == b"for ann"
    assert answers.repeat("ann", 2, 0) is None


def test_who_has_not_written_for_the_longest_time_is_forgotten_first() -> None:
    answers = ClientTable(max_clients=2)
    answers.remember("ann", 1, b"1", 1)
    answers.remember("bob", 1, b"2", 2)
    answers.remember("ann", 2, b"3", 3)
    answers.remember("eve", 1, b"4", 4)
    assert answers.repeat("ann", 2, 0) == b"3"
    assert answers.repeat("eve", 1, 3) == b"4"
    with pytest.raises(OutcomeUnknown):
        answers.repeat("bob", 1, 1)


def test_a_client_is_new_unless_one_was_forgotten_that_was_answered_after_it_came() -> None:
    answers = ClientTable(max_clients=2)
    answers.remember("ann", 1, b"1", 5)
    answers.remember("bob", 1, b"2", 8)
    answers.remember("dan", 1, b"3", 9)
    assert answers.repeat("eve", 1, 5) is None
    with pytest.raises(OutcomeUnknown, match="not known"):
        answers.repeat("eve", 1, 4)


def test_any_number_of_clients_that_write_at_the_same_time_are_known_to_be_new() -> None:
    answers = ClientTable(max_clients=10)
    for number in range(1000):
        # Each said hello four others before it writes.
        assert answers.repeat(str(number), 1, max(0, number - 4)) is None
        answers.remember(str(number), 1, b"1", number + 1)


def test_the_table_is_bounded_in_bytes() -> None:
    answers = ClientTable(max_bytes=10)
    for number in range(4):
        answers.remember(f"client {number}", 1, b"1234", number + 1)
    known = [f"client {number}" for number in range(4)]
    assert list(answers.state()["known"]) == known[2:]
    answers.remember("client 3", 2, b"12345", 9)
    assert list(answers.state()["known"]) == known[2:]
    with pytest.raises(OutcomeUnknown):
        answers.repeat("client 1", 1, 1)


def test_an_answer_that_is_too_large_is_not_kept_but_its_number_is() -> None:
    answers = ClientTable(max_bytes=10)
    answers.remember("ann", 1, b"1234", 1)
    answers.remember("bob", 4, b"a" * 11, 2)
    assert answers.repeat("ann", 1, 0) == b"1234"
    with pytest.raises(OutcomeUnknown, match="forgotten"):
        answers.repeat("bob", 4, 2)
    assert answers.repeat("bob", 5, 2) is None


def test_the_table_is_bounded_in_clients() -> None:
    answers = ClientTable()
    for number in range(MAX_CLIENTS + 5):
        answers.remember(str(number), 1, b"", number)
    assert len(answers.state()["known"]) == MAX_CLIENTS


def test_a_snapshot_holds_all_that_is_known() -> None:
    before = ClientTable(max_clients=2, max_bytes=20)
    before.remember("ann", 3, b"a" * 30, 1)
    before.remember("bob", 1, b"123456", 2)
    before.remember("eve", 9, b"123456", 3)
    after = ClientTable(max_clients=2, max_bytes=20)
    after.restore(before.state(), 3)
    for answers in (before, after):
        assert answers.repeat("bob", 1, 0) == b"123456"
        assert answers.repeat("bob", 2, 0) is None
        with pytest.raises(OutcomeUnknown):
            answers.repeat("ann", 4, 0)
        answers.remember("bob", 2, b"12", 4)
        answers.remember("dan", 1, b"1", 5)
        with pytest.raises(OutcomeUnknown):
            answers.repeat("eve", 9, 2)
        answers.remember("dan", 2, b"a" * 19, 6)
        assert list(answers.state()["known"]) == ["dan"]


def test_a_snapshot_of_an_earlier_version_is_taken_to_be_of_its_end() -> None:
    answers = ClientTable(max_clients=1)
    answers.restore({"known": {"ann": (3, b"1")}, "forgotten": 2}, 7)
    assert answers.repeat("ann", 3, 0) == b"1"
    answers.remember("bob", 1, b"2", 8)
    assert answers.repeat("eve", 1, 7) is None
    with pytest.raises(OutcomeUnknown):
        answers.repeat("eve", 1, 6)


def test_what_the_server_has_forgotten_it_does_not_do(engine: Engine) -> None:
    engine.send(numbered(1))
    for number in range(MAX_CLIENTS):
        engine.db.handle(encode_request(Batch(client=str(number), number=1, version=2)))
    assert isinstance(engine.reply(numbered(1)).error, OutcomeUnknown)
    assert engine.tree["l"] == [1, (2,), 1]
    since = engine.get("hello")["sequence"]
    assert engine.reply(numbered(1, since=since)).error is None
    assert engine.tree["l"] == [1, (2,), 1, 1]

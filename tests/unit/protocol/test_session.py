"""What a session does about silence, waits, locks and lost answers, told without a socket."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pyzdb.errors import (
    AddressError,
    ConnectionClosed,
    LockError,
    LockTimeout,
    LockTypeError,
    LockValueError,
    OutcomeUnknown,
    PathKeyError,
    ServerTimeout,
)
from pyzdb.protocol.holding import Holding
from pyzdb.protocol.replies import Waiting, WireReply
from pyzdb.protocol.requests import Read, Request, Write, decode_request
from pyzdb.protocol.session import Session, Target
from pyzdb.protocol.steps import Diagnose, Leave, Pause, Peek, Post, Reach, Renew, Send, Tell, Turn
from pyzdb.protocol.waits import LARGE, UPLOAD_RATE, Waits
from tests.support.engine import Engine, Start
from tests.support.player import Embedded, Player

WRITER, READER, LOCK = "tcp://writer:1", "tcp://reader:2", "tcp://lock:3"

HELLO = WireReply({"sequence": 7})
DONE = WireReply(None, sequence=8)
LOCKED = WireReply(wait="locked", lock=Waiting(0.5, "somebody since noon"))
GRANTED = WireReply({"uri": LOCK, "token": 99})


def unknown() -> WireReply:
    return WireReply(error=OutcomeUnknown("forgotten"))


def session_of(read_uri: str | None = None, timeout: float = 30.0, **waits: float) -> Session:
    return Session(Target(WRITER, read_uri, timeout, Waits(**waits)), Holding(), "me")


def write() -> Request:
    return Write(("l",), "append", (1,), version=2)


def read() -> Request:
    return Read(("x",), version=2)


def do_read(session: Session, player: Player) -> Any:
    request = read()
    return player.run(session.ask(request, session.read(request)))


# --- the usual case ------------------------------------------------------------------------------


def test_the_usual_case_is_one_send_and_no_generator() -> None:
    session = session_of()
    send = session.first(read())
    assert (send.address, decode_request(send.message).index) == (WRITER, ("x",))
    assert send.patience == Waits().first_resend
    assert session.result(WireReply(5)) == 5


def test_a_reply_that_is_an_error_is_raised_and_kept_by_nobody() -> None:
    reply = WireReply(error=PathKeyError("no", ("x",)))
    with pytest.raises(PathKeyError):
        session_of().result(reply)
    assert reply.error is None


def test_what_must_happen_once_is_numbered_after_a_greeting() -> None:
    session, player = session_of(), Player(HELLO, DONE, DONE)
    player.run(session.do(write()))
    player.run(session.do(write()))
    assert [(one.mode, one.client, one.number, one.since) for one in player.sent] == [
        ("hello", "", 0, 0),
        ("write", "me", 1, 7),
        ("write", "me", 2, 7),
    ]


# --- silence -------------------------------------------------------------------------------------


def test_silence_is_answered_by_the_same_message_with_the_same_number() -> None:
    session, player = session_of(), Player(HELLO, None, None, None, DONE)
    player.run(session.do(write()))
    messages = {send.message for send in player.of(Send)[1:]}
    assert len(messages) == 1
    assert [one.number for one in player.sent[1:]] == [1] * 4


def test_each_silence_is_waited_for_twice_as_long_up_to_a_limit() -> None:
    session = session_of(first_resend=0.5, longest_resend=3.0)
    player = Player(None, None, None, None, None, WireReply(5))
    assert do_read(session, player) == 5
    waited = [send.patience for send in player.of(Send)]
    assert waited == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_each_silence_is_told_with_its_length() -> None:
    player = Player(None, None, WireReply(5))
    do_read(session_of(first_resend=0.5), player)
    assert player.of(Tell) == [Tell("silent", 0.5), Tell("silent", 1.5)]


@pytest.mark.parametrize("timeout", [0.1, 1.0, 30.0])
def test_a_server_that_stays_silent_is_an_error_with_its_address(timeout: float) -> None:
    session, player = session_of(timeout=timeout), Player()
    with pytest.raises(ServerTimeout, match=r"`python server\.py` starts one") as caught:
        do_read(session, player)
    assert caught.value.uri == WRITER
    assert caught.value.waited == pytest.approx(timeout)
    assert player.now - 1000.0 == pytest.approx(timeout)
    assert player.steps[-1] == Diagnose(WRITER)


def test_why_an_address_is_silent_is_told_where_it_is_known() -> None:
    with pytest.raises(ServerTimeout, match="no such name") as caught:
        do_read(session_of(), Player(Diagnose="there is no such name"))
    assert "starts one" not in str(caught.value)


def test_a_connection_that_stays_silent_is_replaced_ever_more_rarely() -> None:
    session, player = session_of(timeout=100.0, new_socket=3.0), Player()
    began = player.now
    with pytest.raises(ServerTimeout):
        do_read(session, player)
    timed = zip(player.steps, player.times, strict=True)
    renewed = [time - began for step, time in timed if isinstance(step, Renew)]
    gaps = [later - earlier for earlier, later in pairwise(renewed)]
    assert renewed[0] >= 3.0
    assert gaps == sorted(gaps)
    assert gaps[0] >= 6.0
    assert gaps[-1] >= 24.0


def test_a_large_message_is_waited_for_as_long_as_it_takes() -> None:
    request = Write(("l",), "append", ("x" * 4 * LARGE,), version=2)
    send = session_of().first(request)
    assert send.patience == len(send.message) / UPLOAD_RATE > 0.9
    assert session_of(timeout=0.5).first(request).patience == 0.5


# --- what happened once, or not -------------------------------------------------------------------


def test_a_client_that_the_server_forgot_and_that_lost_nothing_asks_again() -> None:
    session, player = session_of(), Player(HELLO, unknown(), WireReply({"sequence": 9}))
    player.answers.append(DONE)
    player.run(session.do(write()))
    assert [(one.mode, one.since) for one in player.sent[2:]] == [("hello", 0), ("write", 9)]


@pytest.mark.parametrize("answers", [(None, unknown()), (None, None, unknown())])
def test_the_outcome_is_unknown_only_where_it_may_have_happened(answers: Any) -> None:
    session, player = session_of(), Player(HELLO, *answers)
    with pytest.raises(OutcomeUnknown):
        player.run(session.do(write()))


# --- waiting -------------------------------------------------------------------------------------


def test_a_request_that_has_to_wait_comes_back_with_its_ticket() -> None:
    waits = [WireReply(wait="saving", ticket=number) for number in (4, 5)]
    session, player = session_of(first_return=0.01), Player(*waits, DONE)
    request = Write((), "save", version=2)
    player.run(session.ask(request, session.first(request)))
    assert [isinstance(one, Write) and one.ticket for one in player.sent] == [0, 4, 5]
    assert player.of(Pause) == [Pause(0.01), Pause(0.015)]
    assert [tell.reason for tell in player.of(Tell)] == ["saving", "saving"]


def test_who_waits_for_the_lock_of_another_comes_back_when_the_server_says() -> None:
    session, player = session_of(), Player(HELLO, LOCKED, LOCKED, DONE)
    player.run(session.do(write()))
    assert player.of(Pause) == [Pause(0.5), Pause(0.5)]
    assert player.of(Tell) == [Tell("locked", 0.0), Tell("locked", 0.5)]


def test_a_read_that_waits_for_the_lock_says_its_name_to_keep_its_place() -> None:
    session, player = session_of(), Player(LOCKED, WireReply(5))
    assert do_read(session, player) == 5
    assert [one.client for one in player.sent] == ["", "me"]


def test_nobody_waits_for_a_lock_longer_than_he_says() -> None:
    session = session_of()
    player = Player(HELLO, *[LOCKED] * 5)
    with pytest.raises(LockTimeout, match="somebody since noon") as caught:
        player.run(session.lock(timeout=1.2))
    assert caught.value.holder == "somebody since noon"
    assert caught.value.waited == pytest.approx(1.2)
    # It may still be granted what it has asked for: it says that it waits no more.
    assert [one.mode for one in player.sent] == ["hello", *["lock"] * 4, "unlock"]
    assert [one.number for one in player.sent[1:]] == [1, 1, 1, 1, 2]


# --- read-only servers ---------------------------------------------------------------------------


def test_reads_go_to_the_address_for_reads_with_what_was_seen() -> None:
    session, player = session_of(READER), Player(HELLO, DONE, WireReply(5))
    player.run(session.do(write()))
    assert do_read(session, player) == 5
    assert player.addresses == [WRITER, WRITER, READER]
    assert player.sent[-1].at_least == 8


def test_reads_go_to_the_writer_when_no_read_only_server_answers() -> None:
    session = session_of(READER, reader_patience=2.0)
    player = Player(*[None] * 4, WireReply(5))
    assert do_read(session, player) == 5
    assert player.of(Turn) == [Turn(is_away=True)]
    assert player.now - 1000.0 == pytest.approx(2.0)
    assert (player.addresses[0], player.addresses[-1]) == (READER, WRITER)
    assert session.target.is_reader_away
    # The next one does not wait.
    player.answers[:] = [WireReply(6)]
    assert do_read(session, player) == 6
    assert player.addresses[-1] == WRITER


def away() -> Session:
    session = session_of(READER)
    session.target.reader = None
    return session


def test_a_read_only_server_is_looked_for_from_time_to_time() -> None:
    session, player = away(), Player(Post=READER)
    for seconds in (0.0, 0.4, 0.4, 0.4):
        player.now += seconds
        player.run(session.look_for_reader(player.now))
    assert [type(step) for step in player.steps] == [Post, Peek, Peek, Peek, Post]


def test_a_question_that_could_not_be_sent_is_asked_again_at_once() -> None:
    session, player = away(), Player(Post="")
    player.run(session.look_for_reader(player.now))
    player.run(session.look_for_reader(player.now))
    assert [type(step) for step in player.steps] == [Post, Post]


def test_a_read_only_server_that_answers_is_used_again() -> None:
    session, player = away(), Player(WireReply(3), Post=READER)
    player.run(session.look_for_reader(player.now))
    player.run(session.look_for_reader(player.now))
    assert player.steps[-1] == Turn(is_away=False)
    assert session.target.reader == READER


BEHIND = WireReply(wait="behind", sequence=3)


def test_a_read_only_server_that_is_behind_is_waited_for() -> None:
    session, player = session_of(READER), Player(*[BEHIND] * 3, WireReply(5))
    session.target.seen = 8
    assert do_read(session, player) == 5
    assert player.addresses == [READER] * 4


def test_a_commit_that_is_no_more_is_not_waited_for() -> None:
    session = session_of(READER, behind_patience=0.001)
    player = Player(BEHIND, BEHIND, WireReply({"sequence": 3}), WireReply(5))
    session.target.seen = 8
    assert do_read(session, player) == 5
    assert [one.at_least for one in player.sent] == [8, 8, 0, 3]


def test_a_read_only_server_that_stays_behind_is_an_error() -> None:
    session, player = session_of(READER, timeout=0.02, behind_patience=5.0), Player(*[BEHIND] * 20)
    session.target.seen = 8
    session.target.waits = Waits(behind_patience=0.0, first_return=0.03)
    player.answers.insert(1, WireReply({"sequence": 9}))
    with pytest.raises(ServerTimeout, match="at commit 3, and this client has seen 8") as caught:
        do_read(session, player)
    assert caught.value.uri == READER
    assert caught.value.waited == pytest.approx(0.03)


# --- the lock ------------------------------------------------------------------------------------


def locked(*answers: Any, reach: str = LOCK) -> tuple[Session, Player]:
    session, player = session_of(), Player(HELLO, GRANTED, *answers, Reach=reach)
    player.run(session.lock())
    return session, player


def test_under_the_lock_everything_goes_to_its_address_with_its_token() -> None:
    session, player = locked(WireReply(5), DONE)
    assert do_read(session, player) == 5
    player.run(session.unlock())
    assert player.addresses[-2:] == [LOCK, LOCK]
    assert [one.token for one in player.sent[-2:]] == [99, 99]
    assert session.first(read()).address == WRITER


def test_a_lock_whose_address_cannot_be_reached_is_used_where_it_was_asked_for() -> None:
    session, player = locked(WireReply(5), reach="")
    do_read(session, player)
    assert player.addresses[-1] == WRITER
    assert player.of(Reach) == [Reach(LOCK)]


def test_a_silent_lock_address_and_the_other_take_turns() -> None:
    session, player = locked(None, None, WireReply(5))
    do_read(session, player)
    assert player.addresses[2:] == [LOCK, WRITER, LOCK]


def test_another_server_at_the_address_of_the_lock_is_left_alone() -> None:
    session, player = locked(WireReply(error=LockError("whose?")), WireReply(5), WireReply(6))
    assert do_read(session, player) == 5
    assert do_read(session, player) == 6
    assert player.addresses[2:] == [LOCK, WRITER, WRITER]


def test_a_lost_lock_is_an_error_and_held_no_more() -> None:
    lost = [WireReply(error=LockError("the lock is lost")) for _ in range(2)]
    session, player = locked(*lost)
    with pytest.raises(LockError, match="lost"):
        player.run(session.unlock())
    with pytest.raises(LockError, match="does not hold"):
        player.run(session.unlock())


def test_a_lock_is_taken_once() -> None:
    session, player = locked()
    with pytest.raises(LockError, match="already"):
        player.run(session.lock())
    assert len(player.sent) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionClosed, MemoryError])
def test_a_lock_that_may_have_been_granted_is_given_back(error: type[BaseException]) -> None:
    session, player = session_of(), Player(HELLO, error(), DONE)
    with pytest.raises(error):
        player.run(session.lock())
    assert (player.sent[-1].mode, player.sent[-1].number) == ("unlock", 2)
    assert session.first(read()).address == WRITER


def test_a_lock_that_nobody_was_asked_for_is_not_given_back() -> None:
    session, player = session_of(), Player(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        player.run(session.lock())
    assert [one.mode for one in player.sent] == ["hello"]


@pytest.mark.parametrize("answer", [None, ConnectionClosed(), AddressError()])
def test_what_gives_a_lock_back_is_left_behind_when_nobody_answers(answer: Any) -> None:
    session, player = session_of(), Player(HELLO, KeyboardInterrupt(), answer)
    with pytest.raises(KeyboardInterrupt):
        player.run(session.lock())
    [left] = player.of(Leave)
    assert (left.address, decode_request(left.message).mode) == (WRITER, "unlock")


def test_an_unlock_that_fails_is_tried_once_more_by_its_token() -> None:
    session, player = locked(KeyboardInterrupt(), DONE)
    with pytest.raises(KeyboardInterrupt):
        player.run(session.unlock())
    assert (player.sent[-1].mode, player.sent[-1].token) == ("unlock", 99)
    assert session.first(read()).address == WRITER


def test_a_lock_whose_caller_is_gone_is_given_back_by_its_token() -> None:
    session, player = locked(DONE)
    player.run(session.give_back_lock())
    assert (player.sent[-1].mode, player.sent[-1].token) == ("unlock", 99)
    player.run(session.give_back_lock())
    assert len(player.sent) == 3


def test_a_driver_may_drop_a_lock_in_the_middle() -> None:
    session, _ = locked()
    for steps in (session_of().lock(), session.unlock()):
        next(steps)
        steps.close()


def test_only_the_caller_who_took_the_lock_uses_it() -> None:
    caller = object()
    holding = Holding(lambda: caller)
    session, player = Session(Target(WRITER, None, 30.0), holding, "me"), Player(HELLO, GRANTED)
    player.run(session.lock())
    caller = object()
    with pytest.raises(LockError, match="another asyncio task"):
        session.first(read())
    with pytest.raises(LockError, match="another asyncio task"):
        player.run(session.unlock())


BAD: list[tuple[Any, Any, type[Exception]]] = [
    ("x", None, LockTypeError),
    (True, None, LockTypeError),
    (-1, None, LockValueError),
    (float("nan"), None, LockValueError),
    (None, "x", LockTypeError),
    (None, 0, LockValueError),
    (None, float("inf"), LockValueError),
]


@pytest.mark.parametrize(("timeout", "lease", "error"), BAD)
def test_what_is_not_seconds_is_refused_before_anything_is_sent(
    timeout: Any, lease: Any, error: type[Exception]
) -> None:
    session, player = session_of(), Player()
    with pytest.raises(error):
        player.run(session.lock(timeout, lease))
    assert player.steps == []


# --- a driver in the process of its server --------------------------------------------------------


def embedded(engine: Engine, name: str = "me") -> Embedded:
    return Embedded(engine, Session(Target("here", None, 30.0), Holding(), name))


def test_a_driver_without_sockets_reads_and_writes(engine: Engine) -> None:
    client = embedded(engine)
    client.ask(Write((), "__setitem__", ("l", [1]), version=2))
    client.ask(write())
    assert client.ask(Read(("l",), version=2), once=False) == [1, 1]
    with pytest.raises(PathKeyError):
        client.ask(Read(("no",), version=2), once=False)


def test_a_driver_without_sockets_writes_once_though_replies_get_lost(start: Start) -> None:
    engine = start()
    client = embedded(engine)
    client.ask(Write((), "__setitem__", ("l", []), version=2))
    losses = [True, True, False]
    client.lost = lambda: losses.pop(0)
    client.ask(write())
    assert (engine.tree, losses) == ({"l": [1]}, [])


def test_drivers_without_sockets_wait_for_the_lock_of_one_another(engine: Engine) -> None:
    one, other = embedded(engine), embedded(engine, "other")
    one.run(one.session.lock(lease=5.0))
    one.ask(Write((), "__setitem__", ("l", []), version=2))
    with pytest.raises(LockTimeout, match="me since") as caught:
        other.run(other.session.lock(timeout=1.0))
    assert caught.value.waited == pytest.approx(1.0)
    other.ask(write())  # as soon as the lease has ended
    with pytest.raises(LockError, match="lost"):
        one.ask(write())
    one.run(one.session.give_back_lock())
    one.run(one.session.lock())
    one.run(one.session.unlock())
    assert engine.tree == {"l": [1]}

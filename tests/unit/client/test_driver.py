"""How a driver does the steps of a generator, and what becomes of errors in between."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from pyzdb.client import Connection
from pyzdb.client.driver import Driver, why_silent
from pyzdb.errors import AddressError, ConnectionClosed
from pyzdb.protocol.holding import Holding
from pyzdb.protocol.session import Target
from pyzdb.protocol.steps import Heard, Pause, Reach, Send, Step, Steps, Tell
from pyzdb.transport.sockets import new_context

SILENT = "tcp://127.0.0.1:1"


@pytest.fixture
def connection() -> Connection:
    return Connection(SILENT, None, 1.0)


@pytest.fixture
def driver(connection: Connection) -> Iterator[Driver]:
    context = new_context()
    driver = Driver(connection, Target(SILENT, None, 1.0), context, Holding())
    yield driver
    driver.close()
    context.term()


def test_each_step_is_answered_with_the_time(driver: Driver) -> None:
    def steps() -> Steps[list[Heard]]:
        return [(yield Pause(0.0)), (yield Send(b"{}", SILENT, 0.01)), (yield Pause(0.01))]

    heard = driver.run(steps())
    assert [one.reply for one in heard] == [None] * 3
    assert heard[0].now + 0.01 <= heard[1].now
    assert heard[1].now + 0.01 <= heard[2].now


def test_what_a_query_waits_for_is_told(driver: Driver, connection: Connection) -> None:
    told = []
    connection.on_wait = lambda *waits: told.append(waits)

    def steps() -> Steps[None]:
        yield Tell("locked", 1.5)

    driver.run(steps())
    assert told == [("locked", 1.5)]


class Interruption(BaseException):
    """As Ctrl-C."""


def interrupted(connection: Connection) -> Step:
    """A step in which an interruption comes."""

    def interrupt(*_: object) -> None:
        raise Interruption

    connection.on_wait = interrupt
    return Tell("silent", 1.0)


def test_what_interrupts_a_step_comes_to_the_generator_which_may_go_on(
    driver: Driver, connection: Connection
) -> None:
    def steps() -> Steps[str]:
        try:
            yield interrupted(connection)
        except Interruption:
            yield Pause(0.0)
            return "went on"
        return "was not interrupted"

    assert driver.run(steps()) == "went on"


def test_an_interruption_is_raised_after_what_the_generator_had_yet_to_do(
    driver: Driver, connection: Connection
) -> None:
    done = []

    def steps() -> Steps[None]:
        try:
            yield interrupted(connection)
        finally:
            yield Pause(0.0)
            done.append(True)

    with pytest.raises(Interruption):
        driver.run(steps())
    assert done == [True]


def test_an_error_of_the_generator_is_raised_and_kept_by_nobody(driver: Driver) -> None:
    class Failure(Exception):
        pass

    def steps() -> Steps[None]:
        yield Pause(0.0)
        raise Failure

    def fail() -> weakref.ref[Failure]:
        try:
            driver.run(steps())
        except Failure as error:
            return weakref.ref(error)
        raise AssertionError("nothing was raised")

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()


def test_an_address_that_a_server_names_is_tried(driver: Driver, connection: Connection) -> None:
    def steps(named: str) -> Steps[str]:
        return (yield Reach(named)).text

    assert driver.run(steps("tcp://*:5558")) == "tcp://127.0.0.1:5558"
    assert driver.run(steps("nonsense")) == ""
    connection.closed = True
    with pytest.raises(ConnectionClosed):
        driver.run(steps("tcp://127.0.0.1:5557"))


def test_an_address_that_cannot_be_sent_to_is_an_error(driver: Driver) -> None:
    def steps() -> Steps[None]:
        yield Send(b"{}", "nonsense://127.0.0.1:1", 0.01)

    with pytest.raises(AddressError):
        driver.run(steps())


@pytest.mark.parametrize("uri", [SILENT, "ipc://name", "tcp://[::1]:1", "tcp://localhost:1"])
def test_an_address_that_needs_no_name_or_has_one_is_not_to_blame(uri: str) -> None:
    assert why_silent(uri) == ""


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70, "a..b"])
def test_a_name_that_cannot_be_resolved_is_told(host: str) -> None:
    said = why_silent(f"tcp://127.0.0.1:0;{host}:5559")
    assert said.startswith(f"the name '{host}' cannot be resolved: ")

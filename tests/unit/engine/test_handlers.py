"""The table of modes: each is known to both sides of it, and does what its row says."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from pyzdb.engine.core import Core
from pyzdb.engine.handlers import handlers_of
from pyzdb.engine.replica import Replica
from pyzdb.protocol.requests import (
    MODES,
    ChangeRecord,
    Request,
    encode_request,
    read_record,
    read_request,
)
from tests.support.engine import Engine, Start


def kinds() -> set[type[Request]]:
    """Every struct of a mode."""
    return {
        kind for mode in MODES.values() for kind in (mode.request, mode.record) if kind is not None
    }


def sample(kind: type[Request]) -> Request:
    """A request of a kind that changes little."""
    needed = {"index": (), "command": "pass"}
    fields: dict[str, Any] = {
        name: value for name, value in needed.items() if name in kind.__struct_fields__
    }
    return kind(version=2, **fields)


def test_every_mode_has_a_handler_and_every_handler_a_mode() -> None:
    core: Core = Replica()
    assert set(core._handlers) == kinds()
    assert set(handlers_of(core._execution, core._locking)) == kinds()


@pytest.mark.parametrize("name", sorted(MODES))
def test_what_a_mode_is_called_is_its_tag_on_the_wire(name: str) -> None:
    for kind in (MODES[name].request, MODES[name].record):
        if kind is not None:
            assert kind.mode == name
            assert f'"mode":"{name}"'.encode() in encode_request(sample(kind))


@pytest.mark.parametrize("name", sorted(MODES))
def test_who_may_send_a_mode_is_what_the_table_says(name: str) -> None:
    mode = MODES[name]
    for kind, read in ((mode.request, read_request), (mode.record, read_record)):
        if kind is not None:
            assert type(read(encode_request(sample(kind))).request) is kind


@pytest.mark.parametrize("kind", get_args(ChangeRecord))
def test_a_client_can_say_nothing_that_only_a_record_says(kind: type[Any]) -> None:
    only = {"moved": (("/a", "/b"),), "failed": True}
    record = sample(kind)
    for name in only.keys() & set(record.__struct_fields__):
        setattr(record, name, only[name])
    asked = read_request(encode_request(record))
    assert type(asked.request) is MODES[kind.mode].request
    assert b"moved" not in asked.message
    assert b"failed" not in asked.message


@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if mode.request is not None])
def test_who_waits_for_the_lock_of_another_is_what_the_table_says(start: Start, name: str) -> None:
    engine: Engine = start(exec=True)
    engine.get("lock", client="ann", number=1)
    kind = MODES[name].request
    assert kind is not None
    reply = engine.reply(sample(kind))
    assert (reply.wait == "locked") is MODES[name].waits

"""What the operator of a server reads in its log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.programs import Server

SECRET = "a secret value"


def work(server: Server, connect: Callable[..., Any]) -> None:
    db = connect(server.write_uri)
    db["users"] = {"ann": SECRET}
    with pytest.raises(KeyError):
        db["users"]["bob"]._run()
    with db.lock(lease=7):
        db["users"]["ann"] = SECRET * 2
    db.save()
    assert server.stop() == 0


def test_with_v_a_log_tells_what_happens(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server("-v")
    work(server, connect)
    said = server.said()
    for text in (
        "db['users']['bob']: PathKeyError",
        "has the lock, with a lease of 7.0 s",
        "gave the lock back",
        "a save begins in the background",
        "saved in the background",
        "SIGTERM: ending",
        f"saving {server.filename}",
    ):
        assert text in said, said
    assert "asks for" not in said
    assert SECRET not in said


def test_with_vv_a_log_tells_each_request_and_no_value(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server("-vv")
    work(server, connect)
    said = server.said()
    assert "asks for db['users'].'__setitem__'" in said
    assert SECRET not in said


def test_without_v_nothing_is_said_of_what_went_well(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server()
    work(server, connect)
    assert server.said() == ""


def test_a_client_cannot_write_a_line_of_the_log(
    start_server: Callable[..., Server], connect: Callable[..., Any]
) -> None:
    server = start_server("-vv")
    db = connect(server.write_uri)
    with pytest.raises(KeyError):
        db["no\nforged \x1b[31m line"]._run()
    assert "forged" in server.said()
    assert not any(line.startswith("forged") for line in server.said().splitlines())
    assert "\x1b" not in server.said()

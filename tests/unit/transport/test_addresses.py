"""Addresses: how each side writes one, and which are this machine's own."""

from __future__ import annotations

from typing import Any

import pytest

from pyzdb.errors import AddressError
from pyzdb.transport.addresses import is_ipv6, is_loopback, is_name, split, to_bind, to_connect


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("tcp://localhost:5559", ("tcp", "localhost", "5559")),
        ("tcp://*:5559", ("tcp", "*", "5559")),
        ("tcp://[::1]:5559", ("tcp", "[::1]", "5559")),
        ("ipc:///run/db:1", ("ipc", "/run/db:1", "")),
        ("inproc://requests", ("inproc", "requests", "")),
        ("TCP://db.example:5559", ("tcp", "db.example", "5559")),
        ("tcp://[fe80::1%lo]:5559", ("tcp", "[fe80::1%lo]", "5559")),
        ("tcp://10.0.0.1:0;db.example:5559", ("tcp", "10.0.0.1:0;db.example", "5559")),
    ],
)
def test_an_address_has_three_parts(uri: str, parts: tuple[str, str, str]) -> None:
    assert split(uri) == parts


@pytest.mark.parametrize(
    ("uri", "bound"),
    [
        ("tcp://localhost:5559", "tcp://127.0.0.1:5559"),
        ("TCP://LocalHost.:5559", "tcp://127.0.0.1:5559"),
        ("tcp://*:5559", "tcp://*:5559"),
        ("tcp://[::1]:5559", "tcp://[::1]:5559"),
        ("tcp://[::]:5559", "tcp://[::]:5559"),
        ("IPC:///run/DB", "ipc:///run/DB"),
        ("tcp://192.0.2.7:5559", "tcp://192.0.2.7:5559"),
        ("ipc:///run/localhost", "ipc:///run/localhost"),
    ],
)
def test_a_server_binds_to_no_name(uri: str, bound: str) -> None:
    assert to_bind(uri) == bound


@pytest.mark.parametrize(
    ("uri", "connected"),
    [
        ("tcp://*:5559", "tcp://127.0.0.1:5559"),
        ("tcp://0.0.0.0:5559", "tcp://127.0.0.1:5559"),
        ("tcp://[::]:5559", "tcp://127.0.0.1:5559"),
        ("tcp://localhost:5559", "tcp://127.0.0.1:5559"),
        ("tcp://[0::0]:5559", "tcp://127.0.0.1:5559"),
        ("TCP://localhost.:5559", "tcp://127.0.0.1:5559"),
        ("tcp://127.0.0.2:5559", "tcp://127.0.0.2:5559"),
        ("tcp://[::1]:5559", "tcp://[::1]:5559"),
        ("tcp://db.example:5559", "tcp://db.example:5559"),
        ("ipc:///run/db", "ipc:///run/db"),
    ],
)
def test_a_client_connects_to_a_place(uri: str, connected: str) -> None:
    assert to_connect(uri) == connected


def test_a_name_of_this_machine_has_an_address_of_either_kind() -> None:
    assert to_connect("tcp://localhost:5559", ipv6=True) == "tcp://[::1]:5559"
    assert to_connect("tcp://127.0.0.1:5559", ipv6=True) == "tcp://127.0.0.1:5559"


@pytest.mark.parametrize(
    ("uri", "kinds"),
    [
        ("tcp://[::1]:5559", (True, False)),
        ("tcp://[::]:5559", (True, False)),
        ("tcp://127.0.0.1:5559", (False, False)),
        ("tcp://*:5559", (False, False)),
        ("tcp://db.example:5559", (False, True)),
        ("tcp://localhost:5559", (False, True)),
        ("ipc:///run/db", (False, False)),
        ("ipc://[x]", (False, False)),
    ],
)
def test_an_address_is_of_ipv6_or_a_name_or_neither(uri: str, kinds: tuple[bool, bool]) -> None:
    assert (is_ipv6(uri), is_name(uri)) == kinds


@pytest.mark.parametrize(
    ("lock_uri", "reached", "connected"),
    [
        ("tcp://localhost:5558", "tcp://db.example:5559", "tcp://db.example:5558"),
        ("tcp://127.0.0.1:5558", "tcp://192.0.2.7:5559", "tcp://192.0.2.7:5558"),
        ("tcp://*:5558", "tcp://[2001:db8::7]:5559", "tcp://[2001:db8::7]:5558"),
        ("tcp://localhost:5558", "tcp://localhost:5559", "tcp://127.0.0.1:5558"),
        ("tcp://localhost:5558", "tcp://[::1]:5559", "tcp://127.0.0.1:5558"),
        ("tcp://*:5558", "tcp://[::1]:5559", "tcp://127.0.0.1:5558"),
        ("tcp://[::1]:5558", "tcp://localhost:5559", "tcp://[::1]:5558"),
        ("tcp://[::1]:5558", "tcp://192.0.2.7:5559", "tcp://192.0.2.7:5558"),
        ("tcp://[::]:5558", "tcp://192.0.2.7:5559", "tcp://192.0.2.7:5558"),
        ("tcp://127.0.0.5:5558", "tcp://127.0.0.6:5559", "tcp://127.0.0.5:5558"),
        ("tcp://locks.example:5558", "tcp://db.example:5559", "tcp://locks.example:5558"),
        ("tcp://localhost:5558", "ipc:///run/db", "tcp://127.0.0.1:5558"),
        ("ipc:///run/lock", "tcp://db.example:5559", "ipc:///run/lock"),
    ],
)
def test_here_is_where_the_server_was_reached(lock_uri: str, reached: str, connected: str) -> None:
    assert to_connect(lock_uri, near=reached) == connected


@pytest.mark.parametrize(
    "uri",
    [
        "tcp://localhost:1",
        "TCP://LOCALHOST.:1",
        "tcp://127.0.0.1:1",
        "tcp://127.9.9.9:1",
        "tcp://[::1]:1",
        "tcp://[0:0:0:0:0:0:0:1]:1",
        "tcp://[::ffff:127.0.0.2]:1",
        "ipc://a",
        "IPC://a",
    ],
)
def test_what_nobody_else_reaches(uri: str) -> None:
    assert is_loopback(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "tcp://*:1",
        "TCP://*:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://192.0.2.7:1",
        "tcp://[::ffff:192.0.2.7]:1",
        "tcp://[2001:db8::7]:1",
        "tcp://db.example:1",
        "tcp://localhost.example:1",
    ],
)
def test_what_others_reach_or_may_reach(uri: str) -> None:
    assert not is_loopback(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "localhost",
        "localhost:5559",
        "://a:1",
        "tcp://",
        "tcp://localhost",
        "tcp://:5559",
        "tcp://a:b",
        "tcp://a:*",
        "tcp://a:0",
        "tcp://a:-1",
        "tcp://a:65536",
        "tcp://::1:5559",
        "tcp://[::1:5559",
        "tcp://[a]:5559",
        "tcp://a:\u0665",
        "ipc://a\0b",
    ],
)
def test_what_is_no_address_is_an_error_that_shows_one(uri: str) -> None:
    for use in (split, to_bind, to_connect, is_loopback):
        with pytest.raises(AddressError, match="tcp://127"):
            use(uri)


def test_a_port_alone_is_an_error_that_shows_an_address() -> None:
    port: Any = 5559
    for use in (split, to_bind, to_connect, is_loopback):
        with pytest.raises(AddressError, match=r"5559 is not an address like tcp://127"):
            use(port)

"""ZeroMQ addresses: which are this machine's own, and how the two sides of one write it.

An address is ``transport://host:port``, or ``transport://name`` for ipc and inproc.
"""

from __future__ import annotations

import ipaddress

from pyzdb.errors import AddressError

ANY_HOST = frozenset({"*", "0.0.0.0", "[::]"})
"""Hosts that a server binds to when it listens on every interface."""

LOCAL_HOST = "127.0.0.1"

LAST_PORT = 65_535
"""ZeroMQ takes a larger number and listens on another port."""

EXAMPLES = "tcp://127.0.0.1:5559 or ipc:///run/pyzdb"
"""What an error shows to who wrote an address that is none."""

_ON_THIS_MACHINE = ("ipc", "inproc")


def split(uri: str) -> tuple[str, str, str]:
    """(transport, host, port) of an address; the port is empty where there is none.

    Raises AddressError for what is no address.
    """
    transport, _, place = uri.partition("://")
    if not transport or not place:
        raise AddressError(f"{uri!r} is no address like {EXAMPLES}")
    host, colon, port = place.rpartition(":")
    if transport == "tcp" and not (host and port.isdecimal() and 0 < int(port) <= LAST_PORT):
        raise AddressError(f"{uri!r} needs a host and a port up to {LAST_PORT}, like {EXAMPLES}")
    if transport in _ON_THIS_MACHINE or not colon:
        return transport, place, ""
    return transport, host, port


def to_bind(uri: str) -> str:
    """The address as a server binds to it: ZeroMQ takes no host name there."""
    transport, host, port = split(uri)
    return f"{transport}://{LOCAL_HOST}:{port}" if host == "localhost" else uri


def to_connect(uri: str, near: str | None = None) -> str:
    """The address as another process connects to it.

    ``near`` is an address of the same server that the process has reached: its host, if it has
    one, takes the place of one that means "here" where the server is.
    """
    transport, host, port = split(uri)
    if not port:
        return uri
    if near is not None and (host in ANY_HOST or is_loopback(uri)):
        _, known, known_port = split(near)
        if known_port:
            host = known
    if host in ANY_HOST or host == "localhost":
        host = LOCAL_HOST
    return f"{transport}://{host}:{port}"


def is_loopback(uri: str) -> bool:
    """True when nobody on another machine can reach the address."""
    transport, host, _ = split(uri)
    if transport in _ON_THIS_MACHINE or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

"""ZeroMQ addresses: which are this machine's own, and how the two sides of one write it.

An address is ``transport://host:port``, or ``transport://name`` for ipc and inproc. A host is a
name, an IPv4 address, or an IPv6 address in brackets.

Rules this module keeps:

- No name is looked up: an address is judged by its text.
- An address that is not certainly this machine's own counts as one that others can reach.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from pyzdb.errors import AddressError

LOCAL_HOST = "127.0.0.1"
LOCAL_HOST_6 = "[::1]"

LAST_PORT = 65_535
"""ZeroMQ takes a larger number and listens on another port."""

EXAMPLES = "tcp://127.0.0.1:5559, tcp://[::1]:5559 or ipc:///run/pyzdb"
"""What an error suggests in place of something that is not an address."""

_ON_THIS_MACHINE = ("ipc", "inproc")


def split(uri: Any) -> tuple[str, str, str]:
    """(transport, host, port) of an address; the port is empty where there is none.

    The transport is in small letters. Raises AddressError for what is not an address.
    """
    if not isinstance(uri, str):
        raise AddressError(f"{uri!r} is not an address like {EXAMPLES}")
    transport, _, place = uri.partition("://")
    transport = transport.lower()
    if not transport or not place or "\0" in place:
        raise AddressError(f"{uri!r} is not an address like {EXAMPLES}")
    host, colon, port = place.rpartition(":")
    if transport == "tcp" and not (_is_host(host) and _is_port(port)):
        raise AddressError(f"{uri!r} needs a host and a port up to {LAST_PORT}, like {EXAMPLES}")
    if transport in _ON_THIS_MACHINE or not colon:
        return transport, place, ""
    return transport, host, port


def to_bind(uri: str) -> str:
    """The address as a server binds to it: ZeroMQ takes no host name there."""
    transport, host, port = split(uri)
    if not port:
        return f"{transport}://{host}"
    return f"{transport}://{LOCAL_HOST if _is_localhost(host) else host}:{port}"


def to_connect(uri: str, near: str | None = None, ipv6: bool = False) -> str:
    """The address as another process connects to it.

    ``near`` is an address of the same server that the process has reached: its host, if it is on
    another machine, takes the place of one that means "here" where the server is. ``ipv6`` is how
    a name of this machine is understood, which has an address of either kind.
    """
    transport, host, port = split(uri)
    if not port:
        return f"{transport}://{host}"
    if near is not None and not is_loopback(near) and (_is_any(host) or is_loopback(uri)):
        host = split(near)[1]
    if _is_any(host):
        host = LOCAL_HOST
    elif _is_localhost(host):
        host = LOCAL_HOST_6 if ipv6 else LOCAL_HOST
    return f"{transport}://{host}:{port}"


def is_loopback(uri: str) -> bool:
    """True when nobody on another machine can reach the address."""
    transport, host, _ = split(uri)
    if transport in _ON_THIS_MACHINE or _is_localhost(host):
        return True
    address = _ip(host)
    return address is not None and address.is_loopback


def is_ipv6(uri: str) -> bool:
    """True for the literal address of IPv6, for which ZeroMQ has to be told so."""
    transport, host, _ = split(uri)
    return transport not in _ON_THIS_MACHINE and host.startswith("[")


def is_name(uri: str) -> bool:
    """True when the host is a name, which may stand for addresses of either kind."""
    transport, host, port = split(uri)
    return transport == "tcp" and bool(port) and not _is_any(host) and _ip(host) is None


def _is_host(host: str) -> bool:
    """True for what may be a host: the colons of IPv6 stand in brackets."""
    target = host.rpartition(";")[2]  # ZeroMQ takes the address to come from before it
    if target.startswith("["):
        return target.endswith("]") and _ip(target) is not None
    return bool(target) and ":" not in target


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and 0 < int(port) <= LAST_PORT


def _is_localhost(host: str) -> bool:
    return host.lower() in ("localhost", "localhost.")


def _is_any(host: str) -> bool:
    """True for a host that a server binds to when it listens on every interface."""
    address = _ip(host)
    return host == "*" or (address is not None and address.is_unspecified)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The literal address that a host is; None for a name."""
    try:
        if not host.startswith("["):
            return ipaddress.IPv4Address(host)
        address = ipaddress.IPv6Address(host[1:].removesuffix("]"))
    except ValueError:
        return None
    return address.ipv4_mapped or address

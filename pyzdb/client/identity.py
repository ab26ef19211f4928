"""The user and the machine of a client, as the history and the errors of others name it.

A system need not have what Unix asks for either: on Windows there is no `os.uname`, `os.getuid` or
`pwd`.
"""

from __future__ import annotations

import getpass
import os

NAMELESS = "unknown"
"""The user where the system has neither a name nor a number for one."""


def who() -> str:
    """``user@machine``, as text that can be sent: the names need not be UTF-8."""
    return os.fsencode(f"{_user()}@{_machine()}").decode(errors="replace")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may have a user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else NAMELESS


def _machine() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    # Only here: the start of a client is measured, and this import is a good part of one.
    import socket

    return socket.gethostname()

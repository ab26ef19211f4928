"""The operating system, as far as systems differ: what a `Disk` asks of it, one small file each.

Rules this package keeps:

- What a system can do is seen by what Python has there, not by the system's name.
- What is missing is done in another way that is as safe, or refused in one line: nothing is
  acknowledged that the system was not asked to bring to the disk.
"""

from __future__ import annotations

import importlib
import os
import signal
from types import ModuleType
from typing import Any

from pyzdb.errors import StorageError
from pyzdb.storage.system.linux import BY_NUMBER, Linux
from pyzdb.storage.system.macos import MacOS
from pyzdb.storage.system.posix import Posix

__all__ = ["Linux", "MacOS", "Posix", "require", "this_system"]

_NEEDED: dict[ModuleType, tuple[str, ...]] = {
    os: ("O_DIRECTORY", "O_NOFOLLOW", "fsync", "ftruncate", "link", "pread", "pwrite"),
    signal: ("SIGCHLD", "pthread_sigmask"),
}
"""What nothing else can do in its place."""

_IN_FOLDERS = (os.open, os.stat, os.mkdir, os.unlink, os.rename, os.link)
"""Calls that must take a folder by its descriptor."""


def this_system(fcntl: Any = None) -> Posix:
    """What there is of the above. ``fcntl``: the module, Python's own by default."""
    fcntl = fcntl or _imported("fcntl")
    if hasattr(os, "O_PATH") and os.path.isdir(BY_NUMBER):
        return Linux()
    if hasattr(fcntl, "F_FULLFSYNC") and hasattr(fcntl, "F_GETPATH"):
        return MacOS(fcntl)
    return Posix()


def require() -> None:
    """Raise StorageError, which says what is missing, on a system that can keep no database."""
    missing = [
        f"{module.__name__}.{name}"
        for module, names in _NEEDED.items()
        for name in names
        if not hasattr(module, name)
    ]
    if _imported("fcntl") is None:
        missing.insert(0, "fcntl")
    if not missing and not os.supports_dir_fd.issuperset(_IN_FOLDERS):
        missing.append("dir_fd")
    if missing:
        raise StorageError(
            "a database cannot be kept on this system, only clients run here: Python lacks "
            f"{', '.join(missing)}"
        )


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None

"""Python as other systems have it: names that only some systems have are taken away.

    python tests/support/without.py NAMES PROGRAM [ARGUMENT...]
    python tests/support/without.py NAMES -m MODULE [ARGUMENT...]

runs a Python program so. NAMES is a list with commas of the words in WORDS and of the systems in
SYSTEMS, which stand for several of them. They go before the program imports anything, so that it
finds what it would find there. Nothing of pyzdb is touched.

PYZDB_TEST_WITHOUT=NAMES has the tests themselves and all programs that they start run so:

    PYZDB_TEST_WITHOUT=macos,fork python -m pytest tests/unit
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Callable, Iterable
from typing import Any

VARIABLE = "PYZDB_TEST_WITHOUT"
"""What names the words in the environment."""

SYNCS = "PYZDB_TEST_SYNCS"
"""What names a file in the environment that gets a byte for each F_FULLFSYNC."""

WORDS: dict[str, tuple[str, ...]] = {
    "epoll": ("select.epoll", "selectors.EpollSelector"),
    "poll": ("select.poll", "selectors.PollSelector"),
    # Python's own modules ask for the one and use the other.
    "fork": ("os.fork", "os.forkpty", "os.register_at_fork"),
    "uname": ("os.uname",),
    "getuid": ("os.getuid", "os.geteuid", "os.getgid", "os.getegid"),
    "open_flags": ("os.O_CLOEXEC", "os.O_DIRECTORY", "os.O_NOFOLLOW", "os.O_NONBLOCK", "os.O_PATH"),
    "pread": ("os.pread", "os.pwrite"),
    "sigmask": ("signal.pthread_sigmask", "signal.SIGCHLD", "signal.SIGKILL"),
    "fcntl": ("fcntl",),
    "pwd": ("pwd", "grp"),
    "resource": ("resource",),
    "termios": ("termios", "tty", "pty"),
    "fdatasync": ("os.fdatasync",),
    "fallocate": ("os.posix_fallocate",),
    "fadvise": ("os.posix_fadvise",),
    "sched_yield": ("os.sched_yield",),
    "O_PATH": ("os.O_PATH",),
    "proc": (),
    "linux": (),
}
"""What a word takes away: names of modules of the standard library, and whole modules. ``proc`` is
what lies below /proc/self, and ``linux`` makes Linux into macOS, as far as pyzdb asks for that."""

_UNIX = ("epoll", "fdatasync", "fallocate", "fadvise", "sched_yield", "O_PATH", "proc")

SYSTEMS: dict[str, tuple[str, ...]] = {
    "windows": (
        *("epoll", "poll", "fork", "uname", "getuid", "open_flags", "pread", "sigmask"),
        *("fcntl", "pwd", "resource", "termios"),
    ),
    "macos": (*_UNIX, "linux"),
    "posix": (*_UNIX, "fork"),
}
"""What a system lacks of all that pyzdb uses somewhere; ``posix`` is one that has no more than it
must."""

F_GETPATH, F_FULLFSYNC = 50, 51
"""The numbers of macOS."""

OPEN_MAX = 10240
"""Descriptors that macOS gives to a process that it told of no limit."""


def words_of(names: Iterable[str]) -> set[str]:
    """The words that some names stand for."""
    return {word for name in names for word in SYSTEMS.get(name, (name,))}


def taken_away() -> set[str]:
    """The words that the environment names."""
    return words_of(filter(None, os.environ.get(VARIABLE, "").split(",")))


def lacking(names: str, *program: str) -> list[str]:
    """The command that runs a Python program without some names."""
    return [sys.executable, __file__, names, *program]


def take_away(words: Iterable[str]) -> None:
    """Take what words stand for away from this process, for good."""
    words = set(words)
    if "linux" in words:
        _be_macos()
    for word in words:
        for name in WORDS[word]:
            module, _, attribute = name.partition(".")
            if attribute:
                vars(importlib.import_module(module)).pop(attribute, None)
            else:
                sys.modules[module] = None  # type: ignore[assignment]  # how Python says: none
    if "proc" in words:
        _hide("/proc/self")
    _choose_selector()


def _choose_selector() -> None:
    """Have the default of `selectors` be the best that is left, as it is on such a system."""
    import selectors

    for name in ("EpollSelector", "PollSelector", "SelectSelector"):
        if hasattr(selectors, name):
            selectors.DefaultSelector = getattr(selectors, name)  # type: ignore[misc]  # a class
            return


def _hide(folder: str) -> None:
    """Have no folder be there, for the functions of `os`."""

    def blind(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, str) and path.startswith(folder):
                raise FileNotFoundError(2, os.strerror(2), path)
            return function(path, *args, **kwargs)

        for can in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if function in can:
                can.add(call)
        return call

    for name in ("open", "stat", "lstat", "readlink", "listdir", "scandir"):
        setattr(os, name, blind(getattr(os, name)))


def _be_macos() -> None:
    """Add what macOS has: its commands of `fcntl`, its limits, and its name."""
    import fcntl
    import resource
    import sysconfig

    importlib.import_module("multiprocessing.reduction")  # its helpers have to agree with it
    sysconfig.get_config_vars()  # while it finds the file that is named after the real system
    sys.platform = "darwin"
    readlink, do, give, bound = os.readlink, fcntl.fcntl, resource.getrlimit, resource.setrlimit
    syncs = os.environ.get(SYNCS)
    noted = os.open(syncs, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if syncs else -1
    _, most = give(resource.RLIMIT_NOFILE)

    def command(fd: int, number: int, argument: Any = 0) -> Any:
        if number == F_GETPATH:
            return os.fsencode(readlink(f"/proc/self/fd/{fd}")).ljust(len(argument), b"\0")
        if number != F_FULLFSYNC:
            return do(fd, number, argument)
        if noted >= 0:
            os.write(noted, b"s")
        return os.fsync(fd)

    def getrlimit(what: int) -> tuple[int, int]:
        soft, hard = give(what)
        return soft, resource.RLIM_INFINITY if what == resource.RLIMIT_NOFILE else hard

    def setrlimit(what: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        if what == resource.RLIMIT_NOFILE:
            if soft > OPEN_MAX:
                raise ValueError("current limit exceeds maximum limit")
            hard = min(hard, most) if hard != resource.RLIM_INFINITY else most
        bound(what, (soft, hard))

    fcntl.__dict__.update(F_GETPATH=F_GETPATH, F_FULLFSYNC=F_FULLFSYNC, fcntl=command)
    resource.__dict__.update(getrlimit=getrlimit, setrlimit=setrlimit)


if __name__ == "__main__":
    _, names, *program = sys.argv
    take_away(words_of(names.split(",")))
    sys.path.pop(0)  # the folder of this file
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        runpy.run_path(program[0], run_name="__main__")

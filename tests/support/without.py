"""Python as other systems have it: names that only some systems have are taken away.

    python tests/support/without.py NAMES PROGRAM [ARGUMENT...]
    python tests/support/without.py NAMES -m MODULE [ARGUMENT...]

runs a Python program so. NAMES is a list with commas of the words in TAKEN and of the systems in
SYSTEMS, which stand for several of them. They go before the program imports anything, so that it
finds what it would find there. Nothing of pyzdb is touched.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Iterable

TAKEN: dict[str, tuple[str, ...]] = {
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
}
"""What a word takes away: names of modules of the standard library, and whole modules."""

SYSTEMS: dict[str, tuple[str, ...]] = {
    "windows": tuple(TAKEN),
}
"""What a system lacks of all that pyzdb uses somewhere."""


def take_away(words: Iterable[str]) -> None:
    """Take names away from this process, for good."""
    for word in words:
        if word in SYSTEMS:
            take_away(SYSTEMS[word])
            continue
        for name in TAKEN[word]:
            module, _, attribute = name.partition(".")
            if attribute:
                vars(importlib.import_module(module)).pop(attribute, None)
            else:
                sys.modules[module] = None  # type: ignore[assignment]  # how Python says: none
    _choose_selector()


def _choose_selector() -> None:
    """Have the default of `selectors` be the best that is left, as it is on such a system."""
    import selectors

    for name in ("EpollSelector", "PollSelector", "SelectSelector"):
        if hasattr(selectors, name):
            selectors.DefaultSelector = getattr(selectors, name)  # type: ignore[misc]
            return


def lacking(names: str, *program: str) -> list[str]:
    """The command that runs a Python program without some names."""
    return [sys.executable, __file__, names, *program]


if __name__ == "__main__":
    _, names, *program = sys.argv
    take_away(names.split(","))
    sys.path.pop(0)  # the folder of this file
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        runpy.run_path(program[0], run_name="__main__")

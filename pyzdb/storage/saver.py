"""A save beside the service, in a child process; where there can be none, in the server itself.

Rules this module keeps:

- A child has the state as it was at the fork, while its parent goes on serving.
- The child lets go at once of every file and socket of its parent, so that nothing stays locked
  or bound when the parent is killed; it keeps the standard streams, its pipe and the one
  descriptor that it is given to work with.
- It runs no handler and no cleanup of the parent's, and ends with `os._exit`.
- Success is the word for it in the pipe, which says why there is none otherwise. The exit status
  may be nobody's to see: whoever ignores SIGCHLD, or had it ignored by its own parent, gets none.
- The pipe ends when the child's memory is gone, so the parent does not wait for that. A child that
  hangs is killed, and given up when even that does not end it.
- A save in the server itself is over when it has begun: everybody waits for as long as it takes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import NoReturn, Protocol

REPORT_SIZE = 4096
"""Bytes of a report that are sent: what a pipe takes at once, whoever reads."""

DONE = b"\0done"
"""What the pipe carries when the work is done."""

PATIENCE = 60.0
"""Seconds that a child may spend without writing a byte: a disk that takes longer to sync what was
written has stopped."""

FAREWELL = 5.0
"""Seconds that a killed child may take to end: one that waits for a disk may never."""

FIRST_OWN_FD = 3

PAUSE_TOLD = 1.0
"""Seconds from which on the log warns of a save that kept everybody waiting."""

logger = logging.getLogger(__name__)


class Save(Protocol):
    """A save that was begun. ``fd`` becomes readable when it has ended."""

    fd: int

    def is_over(self, now: float) -> bool:
        """True when nothing more is to be hoped for; to be asked from time to time. ``now``:
        seconds of a monotonic clock."""
        ...

    def result(self) -> str | None:
        """Wait for the end, not for long; None when the work is done, otherwise why it is not."""

    def kill(self, reason: str | None = None) -> None:
        """End it, whatever it is doing; `result` says what became of it."""


Saver = Callable[[Callable[[], None], int], Save]
"""Begins a save: ``saver(work, keep)`` has ``work`` done, which writes to the descriptor ``keep``.
Raises OSError when it cannot begin."""


def default_saver() -> Saver:
    """A child process where the system has forks that are safe, otherwise the server itself."""
    # On macOS the system's own libraries may break in the child of a process with threads, which
    # is why Python's multiprocessing does not fork there either.
    forks = hasattr(os, "fork") and sys.platform != "darwin"
    return SaveProcess if forks else InlineSave


class InlineSave:
    """Does ``work`` at once in this process, where nothing else happens meanwhile."""

    def __init__(self, work: Callable[[], None], keep: int) -> None:
        self._reason: str | None = None
        began = time.monotonic()
        try:
            work()
        except Exception as error:  # pickling raises whatever a value of a user's own type does
            self._reason = _reason(error)
        took = time.monotonic() - began
        level = logging.INFO if took < PAUSE_TOLD else logging.WARNING
        logger.log(
            level, "the state was written without a child: nobody was served for %.1f s", took
        )
        self.fd, other = os.pipe()
        os.close(other)

    def is_over(self, now: float) -> bool:
        return False

    def result(self) -> str | None:
        os.close(self.fd)
        return self._reason

    def kill(self, reason: str | None = None) -> None:
        self._reason = reason


class SaveProcess:
    """Runs ``work`` in a child, which has the descriptor ``keep`` and no other of its parent.

    ``fd`` becomes readable when the child has ended. Raises OSError when no child can be made.
    """

    def __init__(self, work: Callable[[], None], keep: int) -> None:
        self.fd, report = os.pipe()
        self._keep = keep
        self._written = -1
        self._moved = 0.0
        self._killed: str | None = None
        try:
            with warnings.catch_warnings():
                # the child uses none of the threads that Python warns about
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
        except OSError:
            os.close(self.fd)
            os.close(report)
            raise
        if self._pid == 0:
            _child(work, keep, report)
        os.close(report)

    def is_over(self, now: float) -> bool:
        """As `Save.is_over`; a child that makes no progress is killed."""
        if self._killed is not None:
            return now - self._moved >= FAREWELL
        written = os.fstat(self._keep).st_size
        if written != self._written:
            self._written, self._moved = written, now
        elif now - self._moved >= PATIENCE:
            self._moved = now
            self.kill(f"the saving process wrote nothing for {PATIENCE:.0f} s, and was killed")
        return False

    def result(self) -> str | None:
        text = self._read()
        os.close(self.fd)
        status = None
        with contextlib.suppress(ChildProcessError):  # its status went nowhere
            _, status = os.waitpid(self._pid, os.WNOHANG if text is None else 0)
        if text == DONE:
            return None
        if self._killed is not None:
            return self._killed
        if text:
            return text.decode(errors="replace")
        if text is None or status is None:
            return "the saving process did not end in time" if text is None else "it was killed"
        return f"the saving process ended with status {os.waitstatus_to_exitcode(status)}"

    def _read(self) -> bytes | None:
        """All that the child says; None when it does not end."""
        text = b""
        ends = time.monotonic() + FAREWELL
        while select.select([self.fd], [], [], max(0.0, ends - time.monotonic()))[0]:
            data = os.read(self.fd, REPORT_SIZE)
            if not data:
                return text
            text += data
        self.kill()
        return None

    def kill(self, reason: str | None = None) -> None:
        self._killed = reason
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


def _child(work: Callable[[], None], keep: int, report: int) -> NoReturn:
    status = 1
    try:
        gc.disable()  # a collection would copy every page that is shared with the parent
        _forget_parent({keep, report})
        work()
        os.write(report, DONE)
        status = 0
    except BaseException as error:
        os.write(report, _reason(error).encode(errors="replace")[:REPORT_SIZE])
    finally:
        os._exit(status)


def _forget_parent(keep: set[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which decides
    start = FIRST_OWN_FD
    for fd in sorted(keep):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

"""A save in a child process: it has the state as it was at the fork, while the parent serves.

Rules this module keeps:

- The child lets go at once of every file and socket of its parent, so that nothing stays locked
  or bound when the parent is killed; it keeps the standard streams, its pipe and the one
  descriptor that it is given to work with.
- It runs no handler and no cleanup of the parent's, and ends with `os._exit`.
- Success is the word for it in the pipe, which says why there is none otherwise. The exit status
  may be nobody's to see: whoever ignores SIGCHLD, or had it ignored by its own parent, gets none.
- The pipe ends when the child's memory is gone, so the parent does not wait for that. A child that
  hangs is killed, and given up when even that does not end it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from typing import NoReturn

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


class SaveProcess:
    """Runs ``work`` in a child, which has the descriptor ``keep`` and no other of its parent.

    ``fd`` becomes readable when the child has ended. Raises OSError when there can be no child.
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
        """True when nothing more is to be hoped for; to be asked from time to time. A child that
        makes no progress is killed. ``now``: seconds of a monotonic clock."""
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
        """Wait for the child to end, not for long; None when its work is done, otherwise the reason
        why it is not."""
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
        """End the child, whatever it is doing; `result` says what became of it."""
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
        os.write(report, f"{type(error).__name__}: {error}".encode(errors="replace")[:REPORT_SIZE])
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

"""A save in a child process: it has the state as it was at the fork, while the parent serves.

Rules this module keeps:

- The child lets go at once of every file and socket of its parent, so that nothing stays locked
  or bound when the parent is killed; it keeps the standard streams, its pipe and the one
  descriptor that it is given to work with.
- It runs no handler and no cleanup of the parent's, and ends with `os._exit`.
- Success is the exit status 0 and nothing else; the pipe carries why there is none. It ends when
  the child's memory is gone, so the parent does not wait for that.
"""

from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Callable
from typing import NoReturn

REPORT_SIZE = 4096
"""Bytes of a report that are sent: what a pipe takes at once, whoever reads."""

FIRST_OWN_FD = 3


class Saving:
    """Runs ``work`` in a child, which has the descriptor ``keep`` and no other of its parent.

    ``fd`` becomes readable when the child has ended. Raises OSError when there can be no child.
    """

    def __init__(self, work: Callable[[], None], keep: int) -> None:
        self.fd, report = os.pipe()
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

    def result(self) -> str | None:
        """Wait for the child; None when its work is done, otherwise the reason why it is not."""
        text = b""
        while data := os.read(self.fd, REPORT_SIZE):
            text += data
        os.close(self.fd)
        _, status = os.waitpid(self._pid, 0)
        if status == 0:
            return None
        if text:
            return text.decode(errors="replace")
        return f"the saving process ended with status {os.waitstatus_to_exitcode(status)}"

    def kill(self) -> None:
        """End the child, whatever it is doing; `result` says what became of it."""
        os.kill(self._pid, signal.SIGKILL)


def _child(work: Callable[[], None], keep: int, report: int) -> NoReturn:
    status = 1
    try:
        gc.disable()  # a collection would copy every page that is shared with the parent
        _forget_parent({keep, report})
        work()
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

"""What was typed at a prompt, in a file that outlives it.

A file that cannot be read or written is told once, and the prompt goes on with what it remembers.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory

FILE_MODE = 0o600
"""What was typed may hold what others should not read."""


class KeptHistory(FileHistory):
    """The history in a ``file``, whose folder is made when it is not there."""

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self._is_kept = True
        try:
            _prepare(file)
        except OSError as error:
            self._give_up(error)

    def load_history_strings(self) -> Iterable[str]:
        """Return what was typed before, the newest first."""
        if self._is_kept:
            try:
                return super().load_history_strings()
            except OSError as error:
                self._give_up(error)
        return []

    def store_string(self, string: str) -> None:
        """Add what was typed to the file."""
        if self._is_kept:
            try:
                super().store_string(string)
            except OSError as error:  # a disk that has become full, for one
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._is_kept = False
        print(f"the history is not kept in {self.filename!s}: {error.strerror}", file=sys.stderr)


def _prepare(file: Path) -> None:
    """Make the file if it is not there, and look whether it is one.

    To open a pipe would wait, and a device may have no end.
    """
    if not file.is_absolute():
        raise OSError(errno.ENOENT, "there is no home folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.touch(mode=FILE_MODE)
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is {'a folder' if stat.S_ISDIR(mode) else 'not a file'}")
    os.close(os.open(file, os.O_WRONLY | os.O_APPEND))

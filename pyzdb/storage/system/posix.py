"""What every system of the Unix family has, and what can be done there without the rest."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a system says when it, or the file system, cannot do what it was asked."""

_datasync = getattr(os, "fdatasync", os.fsync)


class Posix:
    """A system of which only the common part is known."""

    def sync(self, fd: int) -> None:
        """Return when the file is on the disk, its owner, mode and times included."""
        os.fsync(fd)

    def datasync(self, fd: int) -> None:
        """Return when the content and the length of the file are on the disk."""
        _datasync(fd)

    def allocate(self, fd: int, offset: int, size: int) -> bool:
        """Make room at the end of a file, which reads as zeros; False when it has to be written."""
        if not hasattr(os, "posix_fallocate"):
            return False
        try:
            os.posix_fallocate(fd, offset, size)
        except OSError as error:
            if error.errno in NOT_SUPPORTED:
                return False
            raise
        return True

    def drop_cache(self, fd: int, offset: int, size: int) -> None:
        """Let the system use the memory that holds a part of a file anew, if it takes advice."""
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # it is only advice
                os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)

    def path_of(self, fd: int) -> str | None:
        """The real path of what a descriptor holds; None where the system does not tell."""
        return None

    def hold(self, name: str, folder: int | None) -> int:
        """Get hold of a file, or of a symbolic link itself, without waiting for anything.

        Raises OSError, also when it could not be told where the file lies that is held.
        """
        raise OSError(
            errno.ENOTSUP,
            "this system does not tell where an open file lies; send its content",
        )

    def reopen(self, fd: int) -> int:
        """Open the file that a descriptor from `hold` holds, for reading."""
        return os.dup(fd)

    def link_held(self, fd: int, name: str, folder: int | None) -> None:
        """Give an open file a second name. Raises FileExistsError when the name is taken, and
        OSError with EXDEV, as for another file system, when the file has to be copied."""
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

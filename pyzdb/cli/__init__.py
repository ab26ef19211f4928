"""The command line: one module for each command, and what they share.

Each command is a `main(arguments, prog)` that returns the exit status: 0 when all went well, 1 when
the work failed (one line on standard error says why), 2 when the arguments are wrong, and 3 when a
server gave up because its disk failed or others replaced its files, or when a check found that a
server has the database.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence

import pyzdb
from pyzdb.errors import PyzdbError, SyncFailed

OK = 0
FAILED = 1
DISK_FAILED = 3
"""Argparse's own status for wrong arguments, 2, lies between the two."""

INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended: 128 and the number of the signal."""

Arguments = Sequence[str] | None


def parser_of(description: str | None, prog: str | None) -> argparse.ArgumentParser:
    """Return a parser with --version, whose help is a module's docstring as it was written."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # A shortened option would stop working on the day that a second one begins like it.
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pyzdb {pyzdb.__version__}")
    return parser


def configure_logging(verbosity: int) -> None:
    """Log to standard error: warnings, with 1 what happens as well, with 2 every detail."""
    levels = {0: logging.WARNING, 1: logging.INFO}
    logging.basicConfig(
        level=levels.get(verbosity, logging.DEBUG),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def run(work: Callable[[], int]) -> int:
    """Do a command's work and return its exit status, whatever becomes of it.

    An error of the package or of the system becomes one line on standard error. A reader of the
    output that left (`| head`) and a Ctrl-C end the command without a word.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The name of a file need not be in the encoding of the output. Errors are escaped already.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _open_standard_streams()
        return work()
    except BrokenPipeError:
        # Python writes what is left in its buffer when it exits: that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except SyncFailed as error:
        return fail(error, DISK_FAILED)
    except (PyzdbError, OSError) as error:
        return fail(error)
    except MemoryError:
        return fail("there is not enough memory")


def _open_standard_streams() -> None:
    """Open the null device for standard streams that are closed: otherwise a file of the database
    could get the number of one, and whatever prints would write into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets this number, the lowest that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")


def fail(message: object, status: int = FAILED) -> int:
    """Say in one line on standard error why the command failed, and return its exit status."""
    print(f"pyzdb: {one_line(message)}", file=sys.stderr)
    return status


def one_line(message: object) -> str:
    """Return the text of a message without its line breaks."""
    return " ".join(str(message).split())


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add -v, which every command that logs has."""
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="log what happens; -vv: every detail"
    )

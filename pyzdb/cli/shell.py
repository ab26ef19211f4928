"""Talk to a server in Python: type db['x'] = 3 and db['x'], and see what is there.

`db` is the tree in the server, `connection` the way to it. A path shows its value. A line is
Python, run here, by you: import what you need. On a terminal, Tab completes keys, Ctrl-C stops a
query that waits, and Ctrl-D leaves. An empty line ends a block, and what is pasted is run statement
by statement. Lines of a pipe are run one after another, as in a file of Python; the exit status is
1 when one of them failed.
"""

from __future__ import annotations

import argparse
import math
import sys

from pyzdb.cli import FAILED, OK, Arguments, add_verbose, configure_logging, parser_of, run
from pyzdb.cli.prompt import Kind, Prompt
from pyzdb.cli.terminal import (
    CONTINUATION,
    PROMPT,
    ReadLine,
    is_terminal,
    plain_lines,
    terminal_lines,
)
from pyzdb.client.connection import DEFAULT_TIMEOUT, DEFAULT_URI, client

PATIENCE = 1.0
"""Seconds until the user is told what a query waits for: it is answered at once or something is
wrong."""

COMPLETION_TIMEOUT = 1.0
"""Seconds that a completion waits for its keys: later, the list is in the way of the typing."""

REASONS = {
    "silent": "no answer from {asked}; still trying",
    "locked": "another client holds the lock; waiting",
    "saving": "the server is saving; waiting",
    "behind": "the read-only server is behind; waiting",
}
"""What a query may wait for, by the reasons that a connection gives."""


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Answer line after line until there are no more, and return the exit status."""
    parser = parser_of(__doc__, prog)
    parser.add_argument(
        "write_uri",
        nargs="?",
        default=DEFAULT_URI,
        help="where to read and write (default: %(default)s)",
    )
    parser.add_argument("read_uri", nargs="?", help="where to read (default: at the first address)")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="how long a query tries to reach its server (default: %(default)s)",
    )
    add_verbose(parser)
    given = parser.parse_args(arguments)
    configure_logging(given.verbose)
    return run(lambda: _talk(given.write_uri, given.read_uri, given.timeout))


def seconds(text: str) -> float:
    """Return a time that is more than 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def _talk(write_uri: str, read_uri: str | None, timeout: float) -> int:
    db, connection = client(write_uri, read_uri, timeout=timeout)
    with connection:
        notice = Notice(write_uri if read_uri is None else f"{write_uri} or {read_uri}")
        connection.on_wait = notice
        names = {"db": db, "connection": connection}
        if not is_terminal():
            return converse(Prompt(names, empty_line_ends=False), plain_lines, notice)
        keys, completing = client(write_uri, read_uri, timeout=COMPLETION_TIMEOUT)
        with completing:
            converse(Prompt(names), terminal_lines("history", keys), notice, keep_on=True)
        return OK


class Notice:
    """Says on standard error what a query waits for, once a query and reason."""

    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._said: set[str] = set()

    def __call__(self, reason: str, seconds: float) -> None:
        """Be told by the connection that a query has waited for so many seconds."""
        if seconds >= PATIENCE and reason not in self._said:
            self._said.add(reason)
            text = REASONS[reason].format(asked=self._asked)
            print(f"{text} (Ctrl-C stops waiting)", file=sys.stderr, flush=True)

    def next(self) -> None:
        """Begin a new query."""
        self._said.clear()


def converse(prompt: Prompt, read_line: ReadLine, notice: Notice, keep_on: bool = False) -> int:
    """Read lines and show what comes of them until there are no more.

    Returns the exit status: 1 when a line failed. With ``keep_on``, Ctrl-C ends a line or a query,
    and not the conversation.
    """
    status = OK
    text = PROMPT
    ended = asking = False
    while not ended:
        try:
            asking = False
            try:
                line = read_line(text)
            except EOFError:
                line, ended = "", True
            notice.next()
            text = PROMPT
            asking = True
            for kind, answer in prompt.end() if ended else prompt.feed(line):
                asking = False
                if kind is Kind.VALUE:
                    print(answer, flush=True)
                elif kind is Kind.ERROR:
                    print(answer, file=sys.stderr, flush=True)
                    status = FAILED
                else:
                    text = CONTINUATION
                asking = True
        except KeyboardInterrupt:
            if not keep_on:
                raise
            prompt.reset()
            text = PROMPT
            if asking:
                print("stopped waiting; what was sent may still be done", file=sys.stderr)
                status = FAILED
    return status

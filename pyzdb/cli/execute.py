"""Run Python source inside a server, where `db` is the tree itself.

What the source prints is shown, and so is the traceback when it fails: the exit status is 1 then.
What it changes through `db` is one step of the history, which is undone when it fails. The server
must have been started with --exec, on loopback addresses; without, it refuses.

On a terminal each statement is sent when it is complete; source from a pipe is sent as a whole.
"""

from __future__ import annotations

import sys

from pyzdb.cli import FAILED, OK, Arguments, fail, parser_of, run
from pyzdb.cli.prompt import text_of
from pyzdb.cli.statements import Statements
from pyzdb.cli.terminal import CONTINUATION, PROMPT, is_terminal, terminal_lines
from pyzdb.client.connection import DEFAULT_URI, Connection, client
from pyzdb.errors import ExecFailed, ExecRefused, PyzdbError


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Send source to a server until there is no more, and return the exit status."""
    parser = parser_of(__doc__, prog)
    parser.add_argument(
        "uri", nargs="?", default=DEFAULT_URI, help="the server (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    return run(lambda: _execute(given.uri))


def _execute(uri: str) -> int:
    _, connection = client(uri)
    with connection:
        try:
            if is_terminal():
                _converse(connection)
            else:
                _show(connection.exec(sys.stdin.read()))
        except ExecRefused as error:
            return fail(error)
        except ExecFailed as error:
            _show(str(error))
            return FAILED
    return OK


def _converse(connection: Connection) -> None:
    read_line = terminal_lines("exec-history")
    statements = Statements()
    while True:
        try:
            source = statements.add(read_line(CONTINUATION if statements.is_open else PROMPT))
            if source:
                _show(connection.exec(source))
        except EOFError:
            return
        except KeyboardInterrupt:
            statements.reset()
        except ExecRefused:
            raise
        except ExecFailed as error:
            _show(str(error))
        except (PyzdbError, SyntaxError, ValueError, OverflowError) as error:
            print(text_of(error), file=sys.stderr)


def _show(printed: str) -> None:
    print(printed, end="" if printed.endswith("\n") or not printed else "\n", flush=True)

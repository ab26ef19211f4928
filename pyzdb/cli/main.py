"""One tree of dicts and lists in a server, read and written with Python syntax.

commands:
  serve    start a server (also: python server.py)
  shell    talk to a server at a prompt (also: python client.py)
  exec     run Python source inside a server that allows it (also: python exec_client.py)
  check    check the files of a database, and repair them

`pyzdb COMMAND --help` tells the arguments of a command.
"""

from __future__ import annotations

import importlib
import sys

from pyzdb.cli import Arguments, parser_of

COMMANDS = {
    "serve": "pyzdb.cli.serve",
    "shell": "pyzdb.cli.shell",
    "exec": "pyzdb.cli.execute",
    "check": "pyzdb.cli.check",
}
"""The module of each command, imported only when it is used: a prompt needs no server."""


def main(arguments: Arguments = None, prog: str = "pyzdb") -> int:
    """Run the command that the first argument names, and return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = parser_of(__doc__, prog)
    parser.usage = "%(prog)s [-h] [--version] COMMAND ..."
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the above")
    name: str = parser.parse_args(given[:1]).command
    command = importlib.import_module(COMMANDS[name])
    status: int = command.main(given[1:], f"{prog} {name}")
    return status

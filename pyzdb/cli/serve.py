"""Start a server: it keeps one tree in memory, and every change of it in files.

With no arguments it serves db.pkl in the current folder on this machine only: one queue for clients
that read and write, and one that read-only servers connect to. With -ro it is a read-only server
of the same file; start as many as you like.

Ctrl-C (SIGINT) and SIGTERM finish the request in hand, save, and exit with 0. An address like
tcp://*:5559 lets every machine that reaches this one read and write.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pyzdb.cli import Arguments, add_verbose, configure_logging, parser_of, run
from pyzdb.server import Options, serve


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Serve until a signal ends it, and return the exit status."""
    options = options_of(arguments, prog)
    return run(lambda: serve(options))


def options_of(arguments: Arguments = None, prog: str | None = None) -> Options:
    """What some arguments mean; also have the log be written as they say."""
    known = parser(prog)
    given = known.parse_args(arguments)
    if given.read_only and given.exec:
        known.error("--exec is for the server that keeps the database, not for one that only reads")
    configure_logging(given.verbose)
    told = {each.name: getattr(given, each.name) for each in fields(Options)}
    return Options(**{**told, "files_from": tuple(given.files_from)})


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the arguments, which are the fields of Options."""
    result = parser_of(__doc__, prog)
    types = get_type_hints(Options)
    for each in fields(Options):
        flags = each.metadata["flags"]
        result.add_argument(
            *(flags or [each.name]),
            help=each.metadata["help"],
            **_value(types[each.name], each.default, each.metadata["shown"], bool(flags)),
        )
    add_verbose(result)
    return result


def _value(kind: Any, default: Any, shown: str | None, is_option: bool) -> dict[str, Any]:
    """What argparse is told of the value of an argument, by its type."""
    if kind is bool:
        return {"action": "store_true"}
    told = {"default": default, "metavar": shown}
    if kind is int:
        told["type"] = count
    elif kind == tuple[str, ...]:
        told.update(type=folder, action="append", default=[])
    elif get_origin(kind) is Literal:
        told["choices"] = get_args(kind)
    return told if is_option else {**told, "nargs": "?"}


def count(text: str) -> int:
    """Return a number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def folder(text: str) -> str:
    """Return the path of a folder that is there."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return text

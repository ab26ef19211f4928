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
from typing import get_args

from pyzdb.cli import Arguments, add_verbose, configure_logging, parser_of, run
from pyzdb.server import Options, serve
from pyzdb.server.app import READ_SERVER_URI
from pyzdb.storage.journal import Fsync

FSYNC_POLICIES = get_args(Fsync)


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
    return Options(
        filename=given.db_filename,
        write_client_uri=given.write_client_uri,
        write_server_uri=given.write_server_uri,
        read_client_uri=given.read_client_uri,
        read_server_uri=given.read_server_uri,
        lock_uri=given.lock_uri,
        read_only=given.read_only,
        fsync=given.fsync,
        history_limit=given.history_limit,
        files_from=tuple(given.files_from),
        exec=given.exec,
        snapshot_bytes=given.snapshot_bytes,
    )


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the arguments; what is not given is as in Options."""
    default = Options()
    result = parser_of(__doc__, prog)
    positional = (
        ("db_filename", default.filename, "the database file"),
        ("write_client_uri", default.write_client_uri, "where clients read and write"),
        (
            "write_server_uri",
            default.write_server_uri,
            "back end of that queue (default, also when it is empty: inside the process)",
        ),
        ("read_client_uri", default.read_client_uri, "where clients only read"),
        (
            "read_server_uri",
            default.read_server_uri,
            f"where read-only servers connect (default, also when it is empty: {READ_SERVER_URI}; "
            "with -ro what the server of the same file has said)",
        ),
        ("lock_uri", default.lock_uri, "where the holder of the lock is served"),
    )
    for name, value, text in positional:
        text += "" if value is None else " (default: %(default)s)"
        result.add_argument(name, nargs="?", default=value, help=text)
    result.add_argument(
        "-ro",
        "--read-only",
        action="store_true",
        help="answer reads for the read queue of the server of the same file",
    )
    result.add_argument(
        "--fsync",
        choices=FSYNC_POLICIES,
        default=default.fsync,
        help="when a change must be on the disk (default: %(default)s, before it is answered)",
    )
    result.add_argument(
        "--history-limit",
        type=count,
        default=default.history_limit,
        metavar="STEPS",
        help="how many steps can be undone (default: %(default)s)",
    )
    result.add_argument(
        "--files-from",
        type=folder,
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder that a File may be moved from; may be given more than once (default: none)",
    )
    result.add_argument(
        "--exec",
        action="store_true",
        help="let clients run Python source in the server; only on loopback addresses",
    )
    result.add_argument(
        "--snapshot-bytes",
        type=count,
        default=default.snapshot_bytes,
        metavar="BYTES",
        help="save by itself when the journal has outgrown the last save and this"
        " (default: %(default)s)",
    )
    add_verbose(result)
    return result


def count(text: str) -> int:
    """Return a number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def folder(text: str) -> str:
    """Return the path of a folder that is there."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return text

"""What a server can be told, and how each of it is told on a command line: said once, here.

`pyzdb.cli.serve` makes its arguments of the fields: their names, types, defaults and what `told`
says of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyzdb.engine.database import SNAPSHOT_BYTES
from pyzdb.engine.history import HISTORY_LIMIT
from pyzdb.storage.journal import Fsync

INSIDE = "inproc://pyzdb-requests"
"""The back end of the write queue when it is in the process."""

READ_SERVER_URI = "tcp://127.0.0.1:5562"
"""Where read-only servers connect, unless the operator says otherwise."""


def told(help: str, *flags: str, shown: str | None = None) -> dict[str, Any]:
    """How a field is told. ``help`` is its line of `--help`, in which ``%(default)s`` is the
    default; without ``flags`` the value is given by its position; ``shown`` stands for the value
    there."""
    return {"help": help, "flags": flags, "shown": shown}


@dataclass(frozen=True)
class Options:
    """Addresses, the file, and the policies of a server, in the order of a command line."""

    filename: str = field(
        default="db.pkl",
        metadata=told("the database file (default: %(default)s)", shown="db_filename"),
    )
    write_client_uri: str = field(
        default="tcp://127.0.0.1:5559",
        metadata=told("where clients read and write (default: %(default)s)"),
    )
    write_server_uri: str | None = field(
        default=None,
        metadata=told(
            "back end of that queue (default, also when it is empty: inside the process)"
        ),
    )
    read_client_uri: str = field(
        default="tcp://127.0.0.1:5561",
        metadata=told("where clients only read (default: %(default)s)"),
    )
    read_server_uri: str | None = field(
        default=None,
        metadata=told(
            "where read-only servers connect (default, also when it is empty: "
            f"{READ_SERVER_URI}; with -ro what the server of the same file has said)"
        ),
    )
    lock_uri: str = field(
        default="tcp://localhost:5558",
        metadata=told("where the holder of the lock is served (default: %(default)s)"),
    )
    read_only: bool = field(
        default=False,
        metadata=told(
            "answer reads for the read queue of the server of the same file", "-ro", "--read-only"
        ),
    )
    fsync: Fsync = field(
        default="always",
        metadata=told(
            "when a change must be on the disk (default: %(default)s, before it is answered)",
            "--fsync",
        ),
    )
    history_limit: int = field(
        default=HISTORY_LIMIT,
        metadata=told(
            "how many steps can be undone (default: %(default)s)", "--history-limit", shown="STEPS"
        ),
    )
    files_from: tuple[str, ...] = field(
        default=(),
        metadata=told(
            "a folder that a File may be moved from; may be given more than once (default: none)",
            "--files-from",
            shown="FOLDER",
        ),
    )
    exec: bool = field(
        default=False,
        metadata=told(
            "let clients run Python source in the server; only on loopback addresses", "--exec"
        ),
    )
    snapshot_bytes: int = field(
        default=SNAPSHOT_BYTES,
        metadata=told(
            "save by itself when the journal has outgrown the last save and this"
            " (default: %(default)s)",
            "--snapshot-bytes",
            shown="BYTES",
        ),
    )

    @property
    def listening(self) -> tuple[str, ...]:
        """The addresses that a read-write server binds."""
        return (
            self.write_client_uri,
            self.write_server_uri or INSIDE,
            self.read_client_uri,
            self.read_server_uri or READ_SERVER_URI,
            self.lock_uri,
        )

"""What a database must be: how it was after each of its records, and which were acknowledged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from pyzdb.engine.core import Core
from pyzdb.engine.database import Database
from pyzdb.engine.replica import Replica
from pyzdb.protocol.replies import decode_reply
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.memory import MemoryStore
from pyzdb.values import File
from pyzdb.values.plain import is_plain

Answer = tuple[int, bytes | None, int]
"""The number of a request, what it was answered, and the sequence of the journal by then."""


class Mark(msgspec.Struct):
    """A database after one record: ``answers`` are the last ones that are in the journal."""

    digest: str
    answers: dict[str, Answer]


class Ledger:
    """Knows a database by the sequences of its records: ``acknowledged`` is the last one that
    anybody was told of."""

    def __init__(self) -> None:
        self.marks = {0: Mark(digest(Replica()), {})}
        self.acknowledged = 0
        self._known: dict[str, Answer] = {}

    def note(self, database: Core, started: bool = False) -> None:
        """Take note of how a database is: to be called after each request, and when it was
        ``started``, which may have made a record that answers nobody."""
        known = database.state()["answers"]["known"]
        if database.sequence not in self.marks:
            # Only the answer to the request that made the record is in the journal. What failed
            # made none, but a lock that had ended may have been freed for it by a record.
            new = {} if started else dict(known.items() - self._known.items())
            new = {name: each for name, each in new.items() if not _failed(each)}
            before = self.marks[max(self.marks)].answers
            self.marks[database.sequence] = Mark(digest(database), before | new)
        self._known = known

    def rewind(self, database: Core) -> None:
        """Go on from a database that was recovered: what came after it is gone."""
        sequence = self.acknowledged = database.sequence
        self.marks = {number: mark for number, mark in self.marks.items() if number <= sequence}
        self._known = database.state()["answers"]["known"]

    def fault(self, database: Core, least: int | None = None) -> str | None:
        """What is wrong with a database that was recovered, which must have all records up to
        ``least`` (default: the acknowledged ones); None when it is as it was."""
        sequence = database.sequence
        least = self.acknowledged if least is None else least
        if sequence < least:
            return f"record {least} was acknowledged, and {sequence} is the last one that is there"
        mark = self.marks.get(sequence)
        if mark is None:
            return f"there is a record {sequence}, which was never written"
        if database.tree.plain and not is_plain(database.tree.root):
            return f"after record {sequence} the tree counts as plain JSON and is not"
        if digest(database) != mark.digest:
            return f"after record {sequence} the tree, its history or its lock is another one"
        known = database.state()["answers"]["known"]
        for client, (number, answer, _) in mark.answers.items():
            found, again, _ = known.get(client, (0, None, 0))
            if found < number or (found == number and again != answer):
                return f"after record {sequence} the answer to {client} is another one"
        return None


def _failed(answer: Answer) -> bool:
    return answer[1] is not None and decode_reply(answer[1]).error is not None


def new_ledger(history_limit: int) -> Ledger:
    """A ledger of a new database, whose first start makes a record of the limit."""
    new = Database(MemoryStore(), history_limit=history_limit)
    new.open()
    ledger = Ledger()
    ledger.note(new, started=True)
    new.close()
    return ledger


def seen(database: Core) -> str:
    """Tells the tree, the history and the lock of a database from others, the order of keys and
    the types of values included.

    What a failed request may change is left out: the answer to it.
    """
    state = database.state()
    del state["answers"]
    return repr(state)


def digest(database: Core) -> str:
    """Tells databases apart as `seen` does, in few characters."""
    return blake2b(seen(database).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def recovered(disk: Disk, filename: str, kind: Callable[[FileFolder], Core] = Replica) -> Core:
    """The database that the files hold, without a change of them. Raises CorruptFile."""
    contents = read_contents(disk, filename)
    database = kind(FileFolder(disk, filename))
    snapshot = contents.snapshot
    database.load(contents.state, 0 if snapshot is None else snapshot.sequence)
    for sequence, body in contents.records():
        database.replay(sequence, body)
    return database


def lost_file(disk: Disk, database: Core) -> str | None:
    """The name of a large file that the tree or its history names and that is not there."""
    for file in _files(database.state()):
        location = str(file.location)
        if not disk.exists(location) or disk.content(location) != content_of(file.filename):
            return os.path.basename(location)
    return None


def content_of(filename: str) -> bytes:
    """What the large files of the tests hold: it is known from their names."""
    return filename.encode() * 100


def _files(value: Any) -> Iterator[File]:
    if isinstance(value, File):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from _files(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _files(child)

"""Saves beside the service: who joins which, and what becomes of one that fails."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest
import zmq

from pyzdb.engine.saves import SaveScheduler
from pyzdb.errors import SnapshotFailed
from pyzdb.protocol.replies import decode_reply
from pyzdb.protocol.requests import Envelope, Write, encode_request
from pyzdb.server.loop import ServerLoop
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.memory import MemoryStore
from tests.support.engine import LIMIT, Engine, Start


class BadDisk(Disk):
    """A disk on which nothing can be renamed while it is bad, so that no save succeeds."""

    is_bad = False

    def rename(self, source: str, target: str) -> None:
        if self.is_bad and target.endswith("db.pkl"):
            raise OSError(errno.EIO, "a bad disk")
        super().rename(source, target)


def ticket_of(engine: Engine) -> int:
    """Ask for a save, and return the ticket."""
    reply = engine.ask(func="save")
    assert reply.wait == "saving"
    return reply.ticket


def test_a_save_is_done_when_it_is_answered(engine: Engine) -> None:
    engine.put("x", [1, (2,)])
    ticket = ticket_of(engine)
    engine.finish_save()
    assert engine.get(func="save", ticket=ticket) is None
    assert (engine.store.journal_size, engine.store.snapshot_size > 0) == (0, True)
    engine.restart()
    assert engine.tree == {"x": [1, (2,)]}


def test_others_are_served_meanwhile(engine: Engine) -> None:
    engine.put("x", 1)
    ticket_of(engine)
    engine.put("x", 2)
    assert engine.tree == {"x": 2}
    engine.finish_save()
    engine.restart()
    assert engine.tree == {"x": 2}


def test_a_save_that_holds_all_is_joined(engine: Engine) -> None:
    engine.put("x", 1)
    tickets = [ticket_of(engine), ticket_of(engine)]
    assert tickets[0] == tickets[1]
    engine.finish_save()
    for ticket in tickets:
        assert engine.ask(func="save", ticket=ticket).wait is None
    assert engine.db.save_fd is None


def test_a_save_in_the_process_waits_for_the_one_that_runs(engine: Engine) -> None:
    engine.put("x", 1)
    ticket = ticket_of(engine)
    engine.put("x", 2)
    engine.db.save()
    assert engine.db.save_fd is None
    assert engine.ask(func="save", ticket=ticket).wait is None
    engine.restart()
    assert engine.tree == {"x": 2}
    engine.save()


def test_a_save_that_began_before_a_change_is_not_joined(engine: Engine) -> None:
    engine.put("x", 1)
    first = ticket_of(engine)
    engine.put("x", 2)
    second = ticket_of(engine)
    assert second == first + 1
    engine.finish_save()
    assert engine.ask(func="save", ticket=first).wait is None
    assert engine.db.save_fd is None
    assert engine.ask(func="save", ticket=second).wait == "saving"
    engine.finish_save()
    assert engine.ask(func="save", ticket=second).wait is None
    assert engine.store.journal_size == 0


@pytest.mark.parametrize("ticket", [-1, 2, 500])
def test_a_ticket_from_before_a_restart_gets_one_save(engine: Engine, ticket: int) -> None:
    engine.put("x", 1)
    reply = engine.ask(func="save", ticket=ticket)
    assert reply.wait == "saving"
    engine.finish_save()
    assert engine.ask(func="save", ticket=reply.ticket).wait is None
    assert (engine.db.save_fd, engine.store.journal_size) == (None, 0)


def test_a_save_that_fails_is_an_error_and_the_next_one_works(start: Start) -> None:
    disk = BadDisk()
    engine = start(disk)
    engine.put("x", 1)
    engine.save()
    engine.put("x", 2)
    disk.is_bad = True
    with pytest.raises(SnapshotFailed, match="a bad disk"):
        engine.save()
    engine.put("x", 3)
    assert engine.tree == {"x": 3}
    disk.is_bad = False
    engine.save()
    assert engine.store.journal_size == 0
    engine.restart()
    assert engine.tree == {"x": 3}


def test_a_save_that_fails_loses_nothing(start: Start) -> None:
    disk = BadDisk()
    engine = start(disk)
    engine.put("x", 1)
    disk.is_bad = True
    with pytest.raises(SnapshotFailed):
        engine.save()
    with pytest.raises(SnapshotFailed):
        engine.db.save()
    engine.put("y", 2)
    engine.restart()
    assert engine.tree == {"x": 1, "y": 2}


def test_each_hears_of_the_save_that_it_asked_for(tmp_path: Path) -> None:
    disk = BadDisk()
    store = FileStore(tmp_path / "db.pkl", disk=disk)
    engine = Engine(store, tmp_path / "db.pkl")
    good = ticket_of(engine)
    engine.finish_save()
    engine.put("x", 1)
    disk.is_bad = True
    bad = ticket_of(engine)
    engine.finish_save()
    assert engine.ask(func="save", ticket=good).error is None
    assert isinstance(engine.ask(func="save", ticket=bad).error, SnapshotFailed)
    store.close()


def test_a_journal_that_has_outgrown_its_snapshot_is_saved(start: Start) -> None:
    engine = start(snapshot_bytes=2000)
    engine.put("x", "a" * 1000)
    engine.db.tick()
    assert engine.db.save_fd is None
    engine.put("x", "b" * 1000)
    engine.db.tick()
    engine.db.tick()
    engine.finish_save()
    assert engine.store.journal_size == 0
    engine.db.tick()
    assert engine.db.save_fd is None


def test_a_small_journal_beside_a_large_snapshot_is_left_alone(start: Start) -> None:
    engine = start(snapshot_bytes=2000)
    engine.put("x", "a" * 10_000)
    engine.save()
    engine.put("y", "a" * 5000)
    engine.db.tick()
    assert engine.db.save_fd is None
    engine.put("z", "a" * 10_000)
    engine.db.tick()
    engine.finish_save()
    assert engine.store.journal_size == 0


def test_an_automatic_save_that_failed_is_not_tried_again_at_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    disk = BadDisk()
    engine = start(disk, snapshot_bytes=2000)
    disk.is_bad = True
    engine.put("x", "a" * 3000)
    engine.db.tick()
    engine.finish_save()
    assert "was not saved" in caplog.text
    for _ in range(3):
        engine.put("y", 1)
        engine.db.tick()
        assert engine.db.save_fd is None
    disk.is_bad = False
    engine.put("x", "a" * 3000)
    engine.db.tick()
    engine.finish_save()
    assert engine.store.journal_size == 0


class Unsavable(MemoryStore):
    """A store that cannot even begin a save."""

    def start_save(self, state: Any) -> None:
        raise SnapshotFailed("no process for it")


def test_an_automatic_save_that_cannot_begin_is_not_tried_again_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(Unsavable(), snapshot_bytes=100)
    engine.put("x", "a" * 200)
    for _ in range(3):
        engine.db.tick()
    assert caplog.text.count("no process for it") == 1
    with pytest.raises(SnapshotFailed):
        engine.save()
    assert engine.tree == {"x": "a" * 200}


def test_nothing_is_running_before_the_first_save() -> None:
    saves = SaveScheduler(MemoryStore(), dict, 1_000_000)
    assert not saves.running
    assert saves.ticket() == 1


# --- in a server ---------------------------------------------------------------------------------


@pytest.fixture
def served(start: Start) -> Iterator[tuple[Engine, list[zmq.Socket[bytes]]]]:
    """An engine with the part of a server that answers, and two sockets to it."""
    engine = start()
    reading, writing = socketpair()
    with zmq.Context() as context, reading, writing:
        rep = [context.socket(zmq.REP) for _ in range(2)]
        req = [context.socket(zmq.REQ) for _ in range(2)]
        for number, (one, other) in enumerate(zip(rep, req, strict=True)):
            one.bind(f"inproc://{number}")
            other.rcvtimeo = int(LIMIT * 1000)
            other.linger = 0
            other.connect(f"inproc://{number}")
        responder = ServerLoop(engine.db, rep)
        thread = threading.Thread(target=responder.run, args=(reading.fileno(), engine.db.tick))
        thread.start()
        yield engine, req
        writing.send(b"end")
        thread.join()
        for each in (*rep, *req):
            each.close()


def test_a_save_is_noticed_to_end_also_when_it_begins_as_another_ends(
    served: tuple[Engine, list[zmq.Socket[bytes]]],
) -> None:
    _, sockets = served
    save = b'{"mode": "write", "index": [], "func": "save", "args": [], "kwargs": {}}'
    change = encode_request(Write((), "setdefault", ("x", 1), version=2))
    # The second of these savers waits for a save of its own, which begins as the first one ends.
    for _ in range(10):
        sockets[0].send(save)
        sockets[1].send(change)
        assert decode_reply(sockets[1].recv()).error is None
        sockets[1].send(save)
        assert [socket.recv() for socket in sockets] == [b"null", b"null"]


def test_whoever_waits_for_a_save_is_asked_again(engine: Engine) -> None:
    asked = engine.old(mode="write", index=[], func="save", args=[], kwargs={})
    assert isinstance(asked, Envelope)
    assert engine.db.answer(asked) is asked
    engine.finish_save()
    assert engine.db.answer(asked) == b"null"

"""Commits: each is handed out once it is durable, with all that it did to the tree."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.engine.commits import Commit
from pyzdb.engine.replica import Replica
from pyzdb.errors import PathKeyError, SyncFailed
from pyzdb.protocol.commands import Command
from pyzdb.protocol.requests import Batch, Exec, GiveLockBack, Request, TakeLock, Write
from pyzdb.protocol.requests import encode_request as encoded
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.memory import MemoryStore
from tests.support.disks import FaultyDisk, broken
from tests.support.engine import NOON, Engine, Start, everything
from tests.support.strategies import same


def commits_of(engine: Engine, *requests: Request) -> list[Commit]:
    """What becomes durable when some requests are handled."""
    for request in requests:
        engine.db.handle(encoded(request))
    durable: list[Commit] = engine.db.flush()
    return durable


def put(key: str, value: Any, **fields: Any) -> Write:
    return Write((), "__setitem__", (key, value), version=2, **fields)


def test_a_flush_hands_out_what_has_become_durable(start: Start) -> None:
    engine = start()
    first, second = commits_of(engine, put("x", 1, client="ann"), put("l", [2], client="bob"))
    assert (first.sequence, second.sequence) == (1, 2)
    assert [one.step.who for one in (first, second)] == ["ann", "bob"]
    assert [one.step.where for one in (first, second)] == [("x",), ("l",)]
    assert [one.step.what for one in (first, second)] == ["__setitem__", "__setitem__"]
    assert [one.step.when for one in (first, second)] == [NOON, NOON]
    assert engine.db.flush() == []


def test_what_reads_or_fails_is_no_commit(start: Start) -> None:
    engine = start()
    engine.put("x", 1)
    wrong = Batch((Command((), "__setitem__", ("y", 2)), Command(("no",))), version=2)
    assert commits_of(engine, Write((), "keys", version=2), wrong) == []
    with pytest.raises(PathKeyError):
        engine.call(None, at=("y",))


def test_a_batch_and_source_are_one_commit_each(start: Start) -> None:
    engine = start(exec=True)
    both = Batch((Command((), "__setitem__", ("x", 1)), Command((), "__setitem__", ("y", 2))))
    both.version = 2
    batch, source = commits_of(engine, both, Exec("db['z'] = 3; del db['x']", version=2))
    assert (batch.step.what, len(batch.step.changes)) == ("batch", 2)
    assert (source.step.what, len(source.step.changes)) == ("exec", 2)


def test_the_lock_and_the_servers_own_records_are_commits_without_a_change(start: Start) -> None:
    engine = start(history_limit=5)
    taken = commits_of(engine, TakeLock(version=2, client="ann", number=1, lease=1.0))
    assert [(one.step.what, one.step.changes) for one in taken] == [("lock", [])]
    engine.pass_seconds(2)
    ended, set_ = commits_of(engine, put("x", 1))
    assert (ended.step.what, ended.step.changes) == ("unlock", [])
    assert set_.sequence == ended.sequence + 1
    given_back = GiveLockBack(version=2, client="ann", number=2)
    assert [one.step.what for one in commits_of(engine, given_back)] == ["unlock"]


def test_nothing_is_handed_out_when_the_disk_fails(tmp_path: Any) -> None:
    disk = FaultyDisk(fault=broken())
    engine = Engine(FileStore(tmp_path / "db.pkl", disk=disk))
    engine.db.handle(encoded(put("x", 1)))
    disk.at = disk.calls + 1
    with pytest.raises(SyncFailed):
        engine.db.flush()
    engine.store.close()


def test_what_is_replayed_is_not_handed_out_again(start: Start) -> None:
    engine = start()
    engine.put("x", 1)
    engine.restart()
    assert engine.tree == {"x": 1}
    assert engine.db.flush() == []
    assert [one.sequence for one in commits_of(engine, put("y", 2))] == [2]


KEYS = st.sampled_from(["a", "b", "l"])
REQUESTS = st.one_of(
    st.builds(put, KEYS, st.integers() | st.lists(st.integers(), max_size=3) | st.just((1,))),
    st.builds(lambda key: Write((), "pop", (key, None), version=2), KEYS),
    st.builds(lambda key: Write((key,), "append", (7,), version=2), KEYS),
    st.builds(lambda key: Write((key,), "reverse", version=2), KEYS),
    st.builds(lambda key: Write((key,), "__iadd__", ([1, 2],), version=2), KEYS),
    st.just(Write((), "clear", version=2)),
    st.builds(lambda count: Write((), "undo", (count,), version=2), st.integers(1, 3)),
    st.builds(lambda count: Write((), "redo", (count,), version=2), st.integers(1, 3)),
    st.builds(
        lambda keys: Batch(
            tuple(Command((), "__setitem__", (key, [key])) for key in keys), version=2
        ),
        st.lists(KEYS, max_size=3),
    ),
)


@given(requests=st.lists(REQUESTS, max_size=15), together=st.booleans())
def test_the_records_of_the_commits_make_the_tree(requests: list[Request], together: bool) -> None:
    engine = Engine(MemoryStore(), history_bytes=1_000)
    replica = Replica(history_bytes=1_000)
    for several in [requests] if together else [[one] for one in requests]:
        for commit in commits_of(engine, *several):
            replica.replay(commit.sequence, commit.record)
        assert same(replica.tree.root, engine.db.tree.root)
        assert everything(engine) == repr(replica.state())


@given(requests=st.lists(REQUESTS, max_size=15))
def test_what_changes_lies_at_the_paths_of_the_changes(requests: list[Request]) -> None:
    engine = Engine(MemoryStore())
    for request in requests:
        before = copy.deepcopy(engine.db.tree.root)
        changes = [one for commit in commits_of(engine, request) for one in commit.step.changes]
        after = engine.db.tree.root
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        if all(path or redo[0] not in ("clear", "fill") for path, _, redo, _ in changes):
            assert changed <= {path[0] if path else redo[1] for path, _, redo, _ in changes}


def test_a_replica_hands_out_nothing() -> None:
    replica = Replica()
    replica.load({"tree": {"x": 1}}, 3)
    replica.handle(encoded(put("x", 2)))
    assert replica.flush() == []

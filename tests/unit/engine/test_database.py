"""The engine: what each message does, and that the journal says all of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyzdb.engine.commits import STAMP
from pyzdb.engine.database import Database
from pyzdb.engine.history import HISTORY_LIMIT
from pyzdb.engine.replica import Replica
from pyzdb.errors import (
    CorruptFile,
    ExecRefused,
    HistoryError,
    MessageError,
    OperationError,
    OperationNotAllowed,
    PathIndexError,
    PathKeyError,
    PathTypeError,
    PathValueError,
    PyzdbError,
    QueryError,
    ReadOnlyError,
)
from pyzdb.operations.table import TABLE
from pyzdb.protocol.commands import Command
from pyzdb.protocol.replies import decode_reply
from pyzdb.protocol.requests import Batch, GiveLockBack, Request, TakeLock, Write, encode_request
from pyzdb.storage.disk import Disk
from pyzdb.storage.files import Files
from pyzdb.storage.memory import MemoryStore
from pyzdb.values import Custom
from tests.support.engine import NOON, Engine, Start, everything

WRITES = sorted(name for name, operation in TABLE[dict].items() if operation.kind == "write")

BAD_MESSAGES = [
    b"",
    b"\xff\xfe",
    b"no JSON",
    b"null",
    b"[]",
    b'"lock"',
    b"{}",
    b'{"mode": 3}',
    b'{"mode": "format"}',
    b'{"mode": "configure", "version": 2, "args": [1]}',
    b'{"mode": "configure", "args": [1]}',
    b'{"mode": "write"}',
    b'{"mode": "write", "index": "x"}',
    b'{"mode": "write", "index": ["x"], "func": 3}',
    b'{"mode": "write", "index": [], "func": "update", "args": {}}',
    b'{"mode": "write", "index": [], "func": "update", "kwargs": []}',
    b'{"mode": "write", "index": [], "func": "__setitem__", "args": ["x", "\\ud800"]}',
    b'{"mode": "batch", "version": 2, "commands": [3]}',
    b'{"mode": "lock", "version": 2, "lease": "long"}',
    b'{"mode": "read", "index": [], "version": 3}',
    b'{"mode": "read", "index": [], "number": "1", "version": 2}',
    b'{"mode": "exec", "version": 2}',
    b'{"mode": "read", "version": 2, "tagged": true, "index": [{"_customtype": "int"}]}',
    b"[" * 100_000,
    b'{"mode": "write", "index": ' + b"[" * 100_000,
]


# --- modes -----------------------------------------------------------------------------------


def test_a_path_without_a_function_gives_what_is_there(engine: Engine) -> None:
    engine.put("l", [1, {"k": [2]}])
    assert engine.get("read", index=("l", 1, "k", 0)) == 2
    assert engine.get("read") == {"l": [1, {"k": [2]}]}


def test_the_table_says_what_writes_and_not_the_request(engine: Engine) -> None:
    engine.get("read", func="__setitem__", args=("x", 3))
    assert engine.get("write", index=("x",)) == 3
    before = engine.store.sequence
    assert engine.get("write", func="get", args=("x",)) == 3
    assert engine.store.sequence == before


def test_readall_gives_the_whole_tree(engine: Engine) -> None:
    engine.put("x", 3)
    assert engine.get("readall") == {"x": 3}


def test_hello_gives_the_sequence_of_the_last_change(engine: Engine) -> None:
    assert engine.get("hello") == {"sequence": 0}
    engine.put("x", 3)
    assert engine.get("hello") == {"sequence": 1}


@pytest.mark.parametrize("message", BAD_MESSAGES)
def test_a_bad_message_gets_an_error_and_changes_nothing(message: bytes) -> None:
    engine = Engine(MemoryStore())
    engine.put("x", 3)
    before = everything(engine)
    answer = engine.db.handle(message)
    assert isinstance(answer, bytes)
    if b'"version": 2' in message:
        assert isinstance(decode_reply(answer).error, MessageError)
    else:
        assert "MessageError" in json.loads(answer)
    assert everything(engine) == before
    assert engine.tree == {"x": 3}


@given(st.binary(max_size=80) | st.dictionaries(st.text(), st.text()).map(str).map(str.encode))
def test_whatever_arrives_is_answered(message: bytes) -> None:
    answer = Engine(MemoryStore()).db.handle(message)
    assert isinstance(answer, bytes)
    json.loads(answer)


@pytest.mark.parametrize(
    ("at", "func", "args", "kind", "path"),
    [
        (("no",), None, (), PathKeyError, ("no",)),
        (("l", 7), None, (), PathIndexError, ("l", 7)),
        (("x", "y"), None, (), PathTypeError, ("x", "y")),
        (("l",), "__setitem__", (9, 1), PathIndexError, ("l", 9)),
        (("l",), "remove", (9,), PathValueError, ("l",)),
        (("x",), "append", (9,), OperationNotAllowed, ("x",)),
        ((), "__class__", (), OperationNotAllowed, ()),
        ((), "__init__", (), OperationNotAllowed, ()),
        ((), "format", (), OperationNotAllowed, ()),
        ((), "handle", (), OperationNotAllowed, ()),
        ((), "", (), OperationNotAllowed, ()),
    ],
)
def test_an_error_has_its_kind_and_path_and_changes_nothing(
    engine: Engine, at: Any, func: Any, args: Any, kind: type[QueryError], path: Any
) -> None:
    engine.call("update", {"x": 3, "l": [1]})
    before = everything(engine)
    with pytest.raises(kind) as caught:
        engine.call(func, *args, at=at)
    assert caught.value.path == path
    assert everything(engine) == before
    assert engine.store.sequence == 1


@pytest.mark.parametrize("func", ["undo", "redo", "history", "save"])
@pytest.mark.parametrize("wrong", [{"args": (1, 2, 3)}, {"kwargs": {"asked": 1}}])
def test_functions_of_the_whole_tree_refuse_wrong_arguments(
    engine: Engine, func: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(PathTypeError):
        engine.get(func=func, **wrong)
    engine.put("x", 3)
    assert engine.tree == {"x": 3}


@pytest.mark.parametrize("steps", [0, -1, "all", 1.5, None, True])
def test_undo_takes_a_number_of_steps(engine: Engine, steps: Any) -> None:
    engine.put("x", 3)
    with pytest.raises(PathValueError):
        engine.call("undo", steps)
    assert engine.tree == {"x": 3}


# --- keys and types --------------------------------------------------------------------------


@pytest.mark.parametrize("key", [1, -7, 1.5, True, None, ("l", 4), "_customtype", "é\0"])
def test_a_key_comes_back_as_the_type_that_it_was(engine: Engine, key: Any) -> None:
    engine.put(key, "x")
    engine.call("setdefault", "d", {})
    engine.call("update", [[key, 1]], at=("d",))
    for _ in range(2):
        tree = engine.tree
        assert list(tree) == [key, "d"]
        assert [type(found) for found in (*tree, *tree["d"])] == [type(key), str, type(key)]
        assert engine.get("read", index=(key,)) == "x"
        engine.restart()


@pytest.mark.parametrize("default", [(1,), [(1,)], {1: 2}, Custom("mine", {"a": 1}), 10**4100])
def test_a_default_comes_back_as_the_type_that_it_was(engine: Engine, default: Any) -> None:
    engine.put("x", 1)
    found = engine.call("get", "no", default)
    assert (found, type(found)) == (default, type(default))
    assert engine.batch(Command((), "get", ("no", default))) == [default]
    assert str(engine.call("get", "no", float("nan"))) == "nan"


# --- groups ----------------------------------------------------------------------------------


def test_a_batch_is_one_record_and_one_step(engine: Engine) -> None:
    engine.put("l", [])
    results = engine.batch(
        Command((), "__setitem__", ("x", 3)),
        Command(("l",), "append", (4,)),
        Command(("l",), "pop"),
        Command(("x",)),
    )
    assert results == [None, None, 4, 3]
    assert engine.store.sequence == 2
    assert [step["what"] for step in engine.call("history")] == ["batch", "__setitem__"]
    engine.call("undo")
    assert engine.tree == {"l": []}


def test_results_of_a_batch_are_as_of_their_moment(engine: Engine) -> None:
    engine.put("l", [[1]])
    results = engine.batch(
        Command(("l",)),
        Command(("l", 0), "append", (2,)),
        Command((), "values"),
        Command(("l",), "clear"),
    )
    assert results == [[[1]], None, [[[1, 2]]], None]


@pytest.mark.parametrize(
    ("failing", "kind", "path"),
    [
        (Command(("no", "way")), PathKeyError, ("no",)),
        (Command(("l",), "__setitem__", (5, 0)), PathIndexError, ("l", 5)),
        (Command((), "undo"), OperationNotAllowed, ()),
        (Command((), "save"), OperationNotAllowed, ()),
    ],
)
def test_a_batch_that_fails_does_nothing_and_names_the_command(
    engine: Engine, failing: Command, kind: type[QueryError], path: Any
) -> None:
    engine.put("l", [1])
    before = everything(engine)
    with pytest.raises(kind, match="command 2: ") as caught:
        engine.batch(
            Command((), "__setitem__", ("x", 3)),
            Command(("l",), "insert", (0, 7)),
            failing,
            Command((), "clear"),
        )
    assert (caught.value.command, caught.value.path) == (2, path)
    assert everything(engine) == before
    assert engine.store.sequence == 1


def test_a_batch_that_only_reads_is_in_no_journal(engine: Engine) -> None:
    engine.put("x", 3)
    assert engine.batch(Command(("x",)), Command((), "__len__"), client="c", number=1) == [3, 1]
    assert engine.batch() == []
    assert engine.store.sequence == 1


# --- undo and redo ---------------------------------------------------------------------------


def test_undo_and_redo_are_records_like_any_other(engine: Engine) -> None:
    engine.put("x", 1)
    engine.put("x", 2)
    engine.put("y", 3)
    engine.call("undo", 2)
    engine.call("redo")
    assert engine.store.sequence == 5
    engine.restart()
    assert engine.tree == {"x": 2}
    engine.call("redo")
    assert engine.tree == {"x": 2, "y": 3}


def test_a_write_after_an_undo_ends_what_could_be_redone(engine: Engine) -> None:
    engine.put("x", 1)
    engine.call("undo")
    engine.put("y", 2)
    for _ in range(2):
        with pytest.raises(HistoryError, match="nothing to redo"):
            engine.call("redo")
        assert engine.tree == {"y": 2}
        engine.restart()


def test_both_ends_of_the_history_are_errors_that_are_in_no_journal(engine: Engine) -> None:
    for func in ("undo", "redo"):
        with pytest.raises(HistoryError, match=f"nothing to {func}"):
            engine.call(func)
    engine.put("x", 1)
    with pytest.raises(HistoryError, match="only 1 step"):
        engine.call("undo", 2)
    assert engine.store.sequence == 1
    assert engine.tree == {"x": 1}


def test_history_says_what_where_when_and_who(engine: Engine) -> None:
    engine.put("l", [])
    engine.pass_seconds(90)
    engine.call("append", 4, at=("l",), client="ann@desk", number=1)
    for _ in range(2):
        assert engine.call("history") == [
            {
                "what": "append",
                "where": "db['l']",
                "when": datetime.fromtimestamp(NOON + 90, UTC),
                "who": "ann@desk",
            },
            {
                "what": "__setitem__",
                "where": "db['l']",
                "when": datetime.fromtimestamp(NOON, UTC),
                "who": "",
            },
        ]
        engine.pass_seconds(1000)
        engine.restart()
    assert len(engine.call("history", 1)) == 1


def test_history_survives_a_save(engine: Engine) -> None:
    engine.put("x", [1])
    engine.call("append", 2, at=("x",))
    engine.save()
    engine.restart()
    engine.call("undo", 2)
    assert engine.tree == {}
    engine.call("redo", 2)
    assert engine.tree == {"x": [1, 2]}


def test_the_limit_of_the_history_is_kept(start: Start) -> None:
    engine = start(history_limit=2)
    for value in range(4):
        engine.put("x", value)
    engine.call("undo", 2)
    with pytest.raises(HistoryError):
        engine.call("undo")
    assert engine.tree == {"x": 1}


def test_another_limit_counts_from_its_own_start_on(start: Start) -> None:
    engine = start(history_limit=5)
    for value in range(6):
        engine.put("x", value)
    engine.call("undo", 4)
    # With a limit of 2 from the first record on there would be nothing to undo four times.
    engine.restart(history_limit=2)
    before = everything(engine)
    assert engine.tree == {"x": 1}
    with pytest.raises(HistoryError):
        engine.call("undo", 3)
    engine.restart()
    assert everything(engine) == before
    engine.restart(history_limit=HISTORY_LIMIT)
    for value in range(9):
        engine.put("y", value)
    engine.call("undo", 9)
    engine.restart()
    assert engine.tree == {"x": 1}


def test_the_same_limit_adds_no_record(start: Start) -> None:
    engine = start(history_limit=5)
    assert engine.store.sequence == 1
    engine.restart()
    assert engine.store.sequence == 1


# --- version 1 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "func", "args", "reply"),
    [
        ([], None, [], {"d": {"a": 1, "b": [1, 2]}, "l": [0, 1, 2], "x": 3}),
        (["d", "b", -1], None, [], 2),
        ([], "keys", [], ["d", "l", "x"]),
        (["d"], "items", [], [["a", 1], ["b", [1, 2]]]),
        (["d"], "values", [], [1, [1, 2]]),
        (["d"], "__iter__", [], ["a", "b"]),
        (["l"], "__iter__", [], [0, 1, 2]),
        (["l"], "__len__", [], 3),
        ([], "__contains__", ["x"], True),
        (["l"], "__contains__", ["x"], False),
        (["l"], "__getitem__", [1], 1),
        (["d"], "get", ["k"], None),
        (["d"], "get", ["k", 7], 7),
        (["x"], "__eq__", [3], True),
        (["l"], "__eq__", [[0, 1, 2]], True),
        (["x"], "__ne__", [3], False),
        (["l"], "pop", [], 2),
        (["l"], "append", [4], None),
        ([], "__setitem__", ["y", {"k": None}], None),
        ([], "undo", [], None),
        ([], "redo", [1], "HistoryError"),
        ([], "history", [0], []),
        (["no"], None, [], "PathKeyError"),
        (["l"], "__class__", [], "OperationNotAllowed"),
    ],
)
@pytest.mark.parametrize("mode", ["read", "write"])
def test_version_1_gets_the_bare_value(
    mode: str, index: Any, func: Any, args: Any, reply: Any
) -> None:
    engine = Engine(MemoryStore())
    for key, value in (("d", {"a": 1, "b": [1, 2]}), ("l", [0, 1, 2]), ("x", 3)):
        engine.put(key, value)
    answer = engine.old(mode=mode, index=index, func=func, args=args, kwargs={})
    if isinstance(reply, str):
        assert answer.startswith("Traceback (most recent call last)")
        assert reply in answer
    else:
        assert answer == reply


def test_version_1_may_leave_out_the_function_and_its_arguments(engine: Engine) -> None:
    engine.old(mode="write", index=[], func="update", args=[], kwargs={"a": 1, "b": 2})
    assert engine.old(mode="read", index=["b"]) == 2
    assert engine.old(mode="readall") == {"a": 1, "b": 2}


def test_version_1_saves(engine: Engine) -> None:
    engine.old(mode="write", index=[], func="__setitem__", args=["x", 3])
    asked = engine.old(mode="write", index=[], func="save", args=[], kwargs={})
    engine.finish_save()
    assert engine.db.answer(asked) == b"null"
    assert engine.store.journal_size == 0


def test_version_1_understands_tags(start: Start, tmp_path: Path) -> None:
    engine = start(files=Files(Disk(), str(tmp_path / "bigfiles")))
    sent = {"_customtype": "file", "filename": "a.txt", "content": "héllo"}
    assert engine.old(mode="write", index=[], func="__setitem__", args=["f", sent]) is None
    found = engine.old(mode="read", index=["f"])
    assert found.keys() == {"_customtype", "filename", "location"}
    assert found["filename"] == "a.txt"
    assert Path(found["location"]).read_text(encoding="utf-8") == "héllo"


# --- a server that only reads ----------------------------------------------------------------


class Reader(Engine):
    """A replica to ask."""

    def _open(self) -> list[str]:
        self.db = Replica()
        return []


@pytest.fixture
def reader() -> Engine:
    """A read-only database with something in it."""
    engine = Reader(MemoryStore())
    engine.db.load({"tree": {"d": {"a": 1}, "l": [1], "x": 3}}, 5)
    return engine


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("func", [*WRITES, "undo", "redo", "save"])
def test_a_reader_refuses_every_write_whatever_its_mode(
    reader: Engine, mode: str, func: str
) -> None:
    args = {
        "__setitem__": ("y", 1),
        "__delitem__": ("x",),
        "__ior__": ({"y": 1},),
        "pop": ("x",),
        "setdefault": ("y", 1),
        "update": ({"y": 1},),
    }
    with pytest.raises(ReadOnlyError):
        reader.get(mode, func=func, args=args.get(func, ()))
    assert reader.tree == {"d": {"a": 1}, "l": [1], "x": 3}


def test_a_reader_refuses_what_else_writes(reader: Engine) -> None:
    with pytest.raises(ReadOnlyError):
        reader.call("append", 2, at=("l",))
    with pytest.raises(ReadOnlyError):
        reader.call("__iadd__", 1, at=("x",))
    with pytest.raises(ReadOnlyError):
        reader.batch(Command(("x",)), Command((), "clear"))
    for mode in ("lock", "unlock"):
        with pytest.raises(ReadOnlyError):
            reader.get(mode)
    with pytest.raises(ExecRefused):
        reader.get("exec", command="db.clear()")
    assert "ReadOnlyError" in reader.old(mode="lock", action="lock")
    assert reader.tree == {"d": {"a": 1}, "l": [1], "x": 3}


def test_a_reader_reads(reader: Engine) -> None:
    assert reader.get("read", index=("d", "a")) == 1
    assert reader.batch(Command(("x",)), Command((), "__len__")) == [3, 3]
    assert reader.call("history") == []
    assert reader.get("hello") == {"sequence": 5}


def test_a_reader_serves_while_the_writer_is_locked(reader: Engine) -> None:
    lock = encode_request(TakeLock(lease=0.001, client="c", number=1, version=2))
    reader.db.replay(6, STAMP.pack(NOON) + lock)
    reader.pass_seconds(1000)
    assert reader.get("read", index=("x",)) == 3
    with pytest.raises(ReadOnlyError):
        reader.get("lock")


# --- the journal says all --------------------------------------------------------------------

SIMPLE = (
    st.none()
    | st.integers(-2, 2)
    | st.text("ab", max_size=2)
    | st.sampled_from([(1,), (1, [2]), {1, 2}, Decimal("NaN"), Custom("mine", {})])
)
ARGUMENTS = SIMPLE | st.lists(SIMPLE, max_size=3) | st.sampled_from([{"a": {}}, slice(1, None)])
COMMANDS = st.builds(
    Command,
    st.lists(st.sampled_from(["a", "b", 0, -1]), max_size=2).map(tuple),
    st.sampled_from([*WRITES, "append", "extend", "insert", "sort", "reverse", "__iadd__", None]),
    st.lists(ARGUMENTS, max_size=2).map(tuple),
)
REQUESTS = (
    st.builds(lambda c: Write(c.index, c.func, c.args, client="c", version=2), COMMANDS)
    | st.builds(
        lambda func, steps: Write((), func, (steps,), version=2),
        st.sampled_from(["undo", "redo"]),
        st.integers(1, 3),
    )
    | st.builds(
        lambda commands: Batch(commands=tuple(commands), version=2),
        st.lists(COMMANDS, max_size=3),
    )
    | st.sampled_from([TakeLock(version=2), GiveLockBack(version=2)])
)


@settings(max_examples=60)
@given(st.lists(REQUESTS, max_size=15), st.integers(0, 15))
def test_what_fails_changes_nothing_and_what_was_done_is_done_again_by_its_records(
    requests: list[Request], saved: int
) -> None:
    engine = Engine(MemoryStore(), history_limit=5)
    engine.call("update", {"a": {}, "b": []})
    for number, request in enumerate(requests):
        if engine.db.lock.held is not None:
            request.token = engine.db.lock.held.token
        engine.pass_seconds(1)
        tree, sequence = repr(engine.db.tree.root), engine.store.sequence
        if engine.reply(request).error is not None:
            assert (repr(engine.db.tree.root), engine.store.sequence) == (tree, sequence)
        if number == saved:
            engine.db.save()
    before = engine.db.state()
    engine.restart()
    after = engine.db.state()
    for part in ("tree", "plain", "history", "lock", "answers"):
        assert repr(after[part]) == repr(before[part])


def test_errors_of_the_package_are_all_that_a_request_can_raise(engine: Engine) -> None:
    with pytest.raises(PyzdbError):
        engine.call("update", 3)
    engine.put("x", 1)
    with pytest.raises(OperationError, match="ZeroDivisionError"):
        engine.call("__ifloordiv__", 0, at=("x",))


def test_a_snapshot_of_another_version_is_refused() -> None:
    database = Database(MemoryStore())
    states: list[dict[str, Any]] = [
        {},
        {"tree": {}, "history": {"steps": [(("set",), [])]}},
        {"tree": {}, "history": {"steps": [(("set", (), 0.0, ""), [((), (), ())])]}},
        {"tree": {}, "history": {"steps": [], "limit": 1, "index": -2}},
        {"tree": {}, "history": {"steps": [], "limit": -1, "index": -1}},
        {"tree": {}, "answers": {"known": {}}},
        {"tree": {}, "lock": 1},
    ]
    for state in states:
        with pytest.raises(CorruptFile, match="not of this version"):
            database.load({"plain": True, **state}, 1)

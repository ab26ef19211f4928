"""Source that a server runs: what it prints, what it changes, and that the journal says so."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pyzdb.errors import ExecFailed, ExecRefused
from pyzdb.protocol.requests import Exec
from tests.support.engine import Engine, Start


@pytest.fixture
def engine(start: Start) -> Engine:
    """A database that runs source, with something in it."""
    engine = start(exec=True)
    engine.put("l", [1, 2])
    return engine


def run(engine: Engine, source: str, **fields: Any) -> str:
    """What source printed, whether it failed or not."""
    try:
        return str(engine.get("exec", command=source, **fields))
    except ExecFailed as failed:
        return str(failed)


def test_exec_is_off_unless_it_was_asked_for(start: Start) -> None:
    engine = start()
    with pytest.raises(ExecRefused, match="--exec"):
        run(engine, "db['x'] = 1")
    assert "ExecRefused" in engine.old(mode="exec", command="db['x'] = 1")
    assert (engine.tree, engine.store.sequence) == ({}, 0)


def test_what_is_printed_comes_back(engine: Engine) -> None:
    assert run(engine, "print(db['l']._run())\nimport sys\nsys.stderr.write('é')") == "[1, 2]\né"
    assert run(engine, "") == ""


def test_version_1_gets_what_is_printed(engine: Engine) -> None:
    assert engine.old(mode="exec", command="print(len(db['l']))") == "2\n"


def test_source_uses_the_tree_like_any_client(engine: Engine) -> None:
    source = """
db['x'] = 3
db['x'] += 1
db['copy'] = db['l']
db['l'].append({'k': (5,)})
del db['l'][0]
with db.batch() as batch:
    batch['y'] = 1
    length = batch['l'].__len__()
print(length.value, 'x' in db, [v for v in db['l']], db['x'] == 4)
"""
    assert run(engine, source) == "2 True [2, {'k': (5,)}] True\n"
    tree = {"l": [2, {"k": (5,)}], "x": 4, "copy": [1, 2], "y": 1}
    for _ in range(2):
        assert engine.tree == tree
        engine.restart()


def test_all_that_source_does_is_one_step(engine: Engine) -> None:
    before = engine.store.sequence
    run(engine, "db['x'] = 1\ndb['l'].clear()\ndb['l'].append(3)", client="ann", number=1)
    assert engine.store.sequence == before + 1
    assert [(step["what"], step["who"]) for step in engine.call("history", 1)] == [("exec", "ann")]
    engine.call("undo")
    assert engine.tree == {"l": [1, 2]}
    engine.restart()
    engine.call("redo")
    assert engine.tree == {"l": [3], "x": 1}


def test_source_that_only_reads_is_no_step(engine: Engine) -> None:
    run(engine, "print(db)")
    assert len(engine.call("history")) == 1


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("db['no']['way']._run()", "PathKeyError"),
        ("db.undo()", "undo"),
        ("db.save()", "save"),
        ("db.lock()", "LockError"),
        ("db.unlock()", "LockError"),
        ("db['f'] = object()", "EncodingError"),
        ("raise ValueError('\\ud800')", "\\ud800"),
    ],
)
def test_source_that_fails_shows_its_traceback_and_changes_nothing(
    engine: Engine, end: str, shown: str
) -> None:
    before = repr(engine.db.tree.root)
    printed = run(engine, f"print('begun')\ndb['x'] = 1\ndb['l'].reverse()\n{end}")
    assert printed.startswith("begun\nTraceback (most recent call last)")
    assert shown in printed
    for _ in range(2):
        assert repr(engine.db.tree.root) == before
        assert len(engine.call("history")) == 1
        engine.restart()


@pytest.mark.parametrize("source", ["if", "x = = 1", "\0", "    x", "db['x'] = 1\n)"])
def test_what_is_no_python_is_said_so(engine: Engine, source: str) -> None:
    assert "Error: " in run(engine, source)
    assert engine.tree == {"l": [1, 2]}


def test_an_error_that_source_catches_takes_nothing_else_back(engine: Engine) -> None:
    source = """
db['x'] = 1
try:
    with db.batch() as batch:
        batch['y'] = 2
        batch['no']['way'] = 3
except KeyError as error:
    print(error)
try:
    db['l'].remove(7)
except ValueError:
    pass
db['z'] = 4
"""
    assert "db['no']" in run(engine, source)
    for _ in range(2):
        assert engine.tree == {"l": [1, 2], "x": 1, "z": 4}
        engine.restart()


def test_values_are_copies_on_both_ways(engine: Engine) -> None:
    source = """
fetched = db['l']._run()
fetched.append('no')
mine = [{'k': [1]}]
db['mine'] = mine
mine[0]['k'].append('no')
mine.append('no')
db['mine'][0]['k'].pop()
db['mine'][0]['k'].append(2)
"""
    run(engine, source)
    for _ in range(2):
        assert engine.tree == {"l": [1, 2], "mine": [{"k": [2]}]}
        engine.restart()


def test_names_last_from_one_source_to_the_next(engine: Engine) -> None:
    run(engine, "def double(): db['l'] *= 2\nl = db['l']\nbatch = db.batch")
    run(engine, "double()")
    run(engine, "l.append(3)")
    run(engine, "with batch() as b: b['y'] = 1")
    assert engine.store.sequence == 5
    for _ in range(2):
        assert engine.tree == {"l": [1, 2, 1, 2, 3], "y": 1}
        engine.restart()
    engine.call("undo", 2)
    assert engine.tree == {"l": [1, 2, 1, 2]}


def test_the_tree_is_closed_to_source_that_has_ended(engine: Engine) -> None:
    source = """
import threading
go, said = threading.Event(), []
def late():
    go.wait()
    try:
        db['x'] = 1
    except Exception as error:
        said.append(type(error).__name__)
thread = threading.Thread(target=late, name="late")
thread.go = go
thread.start()
"""
    run(engine, source)
    (thread,) = [each for each in threading.enumerate() if each.name == "late"]
    vars(thread)["go"].set()
    thread.join()
    assert run(engine, "print(said)") == "['ExecRefused']\n"
    assert engine.tree == {"l": [1, 2]}


def test_a_new_db_for_each_source(engine: Engine) -> None:
    run(engine, "db = 3")
    assert run(engine, "print(db['l']._run())") == "[1, 2]\n"


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_repeat_gets_the_same_and_runs_nothing(engine: Engine, is_restarted: bool) -> None:
    source = "db['l'].append(len(db['l'])); import random; print(random.random())"
    request = Exec(command=source, client="ann", number=1, version=2)
    answer = engine.send(request)
    if is_restarted:
        engine.restart(exec=False)
    assert engine.send(request) == answer
    assert engine.tree == {"l": [1, 2, 2]}


def test_the_journal_holds_what_source_did_and_not_the_source(engine: Engine) -> None:
    run(engine, "import random\ndb['x'] = random.random()\ndb['t'] = (1,)")
    tree = engine.tree
    engine.restart(exec=False)
    assert engine.tree == tree
    with pytest.raises(ExecRefused):
        run(engine, "db['x'] = 1")


def test_a_client_cannot_bring_its_own_record(engine: Engine) -> None:
    wire = (
        b'{"mode": "exec", "version": 2, "command": "print(1)", '
        b'"commands": [[[], "clear", [], {}]]}'
    )
    engine.db.handle(wire)
    engine.db.flush()
    for _ in range(2):
        assert engine.tree == {"l": [1, 2]}
        engine.restart()


def test_what_no_message_can_carry_is_shown(engine: Engine) -> None:
    assert run(engine, "print('a\\ud800b'); db['x'] = 1") == "a\\ud800b\n"
    for _ in range(2):
        assert engine.tree == {"l": [1, 2], "x": 1}
        engine.restart()

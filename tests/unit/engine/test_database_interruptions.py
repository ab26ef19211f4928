"""A request that is interrupted at any line of the program: all of it is done, or nothing.

The fault is raised at the n-th line that runs in the package, for every n, as a want of memory, a
key that is pressed or a failing disk would raise it there. `python -m tests.torture faults` does
so for requests that are drawn, at each of the interpreter's instructions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyzdb.engine.tree import SETTLED
from pyzdb.errors import SyncFailed
from pyzdb.protocol.commands import Command
from pyzdb.protocol.replies import decode_reply
from pyzdb.protocol.requests import Batch, Exec, ReadAll, Request, TakeLock, Write, encode_request
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.memory import MemoryStore
from pyzdb.storage.store import Store
from tests.support.disks import FaultyDisk
from tests.support.engine import Engine
from tests.torture.faults import FAULTS, Interruption

pytestmark = pytest.mark.untraced

ONE = Command((), "__setitem__", ("x", 5))
APPEND = Command(("l",), "append", (4,))

REQUESTS: dict[str, Request] = {
    "set": Write((), "__setitem__", ("x", 5), client="c", number=7, version=2),
    "new key": Write((), "__setitem__", ("new", [1]), version=2),
    "tagged": Write((), "__setitem__", ("x", (1, 2)), version=2),
    "delete": Write((), "__delitem__", ("x",), version=2),
    "update": Write((), "update", ({"x": 1, "y": [2], "z": 3},), version=2),
    "in place": Write(("l",), "__imul__", (2,), version=2),
    "add": Write(("x",), "__iadd__", (1,), version=2),
    "pop": Write(("l",), "pop", (), client="c", number=7, version=2),
    "batch": Batch(commands=(ONE, APPEND, Command(("l",), "sort")), version=2),
    "failing batch": Batch(commands=(ONE, APPEND, Command(("no",), "sort")), version=2),
    "undo": Write((), "undo", (2,), version=2),
    "redo": Write((), "redo", (1,), version=2),
    "lock": TakeLock(lease=5.0, version=2),
    "exec": Exec(command="db['x'] = 6\ndb['l'].append(1)\nprint(db['x'])", version=2),
    "failing exec": Exec(command="db['x'] = 6\n1 / 0", version=2),
}


def prepare(path: Path | None = None) -> Engine:
    """An engine with something in it, of which one step is undone; in memory without a path."""
    store: Store = MemoryStore() if path is None else FileStore(path, disk=FaultyDisk())
    engine = Engine(store, path, exec=True, new_token=lambda: 7)
    engine.put("x", 1)
    engine.put("l", [3, 1, 2])
    engine.put("d", {"k": (1, "t")})
    engine.put("undone", 1)
    engine.call("undo")
    return engine


def without_answers(engine: Engine) -> str:
    state = engine.db.state()
    del state["answers"]
    return repr(state)


def interrupted(engine: Engine, request: Request, fault: type[BaseException], at: int) -> Any:
    """What became of a request that is interrupted: its answer, what was raised, or None when it
    had ended before that line."""
    message = encode_request(request)
    with Interruption(fault, at, "line") as interruption:
        try:
            answer = engine.db.handle(message)
            engine.db.flush()
        except BaseException as error:
            return error
    assert isinstance(answer, bytes)
    return None if interruption.left > 0 else decode_reply(answer)


def check(engine: Engine, before: str, after: str, outcome: Any) -> None:
    """All of the request is there or nothing, now and after a restart."""
    goes_on = engine.db.tree.state is SETTLED and not isinstance(outcome, SyncFailed)
    if goes_on:
        now = without_answers(engine)
        assert now in (before, after)
        if not isinstance(outcome, BaseException):
            # What is raised in source that the server runs is printed.
            failed = outcome.error or "Traceback" in str(outcome.value)
            assert now == (before if failed else after)
        if engine.db.lock.held is None:
            engine.put("works", True)
            engine.call("undo")
    else:
        assert isinstance(outcome, BaseException)
        with pytest.raises(SyncFailed):
            engine.db.handle(encode_request(ReadAll(version=2)))
        engine.db.close()
    live = without_answers(engine)
    possible = (live,) if goes_on else (before, after)
    engine.restart()
    assert without_answers(engine) in possible
    engine.store.close()


def interrupt_everywhere(
    kind: str, fault: type[BaseException], paths: Iterator[Path | None]
) -> None:
    # In a thread of its own: what is raised while Python leaves an `except` can stay the exception
    # that its thread handles, and would show in the errors of all later tests.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_interrupt_everywhere, kind, fault, paths).result()


def _interrupt_everywhere(
    kind: str, fault: type[BaseException], paths: Iterator[Path | None]
) -> None:
    request = REQUESTS[kind]
    whole = prepare(next(paths))
    before = without_answers(whole)
    whole.send(request)
    after = without_answers(whole)
    whole.store.close()
    for at in itertools.count(1):
        engine = prepare(next(paths))
        outcome = interrupted(engine, request, fault, at)
        if outcome is None:
            engine.store.close()
            assert at > 20
            return
        check(engine, before, after, outcome)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", REQUESTS)
def test_an_interrupted_request_is_done_or_not(kind: str, fault: type[BaseException]) -> None:
    interrupt_everywhere(kind, fault, itertools.repeat(None))


def test_an_interrupted_request_is_in_the_files_or_not(tmp_path: Path) -> None:
    interrupt_everywhere("set", MemoryError, (tmp_path / f"db-{n}" for n in itertools.count()))

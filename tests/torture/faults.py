"""Interrupt requests at every step of the program: all of each is done, or nothing.

A request is handed to a database again and again from the same beginning, and each time another of
the instructions that this takes in the package raises what could be raised there: a want of memory,
a recursion too deep, a Ctrl-C, a failure of the system. It is one of every kind, large files,
source and saves too, the first to be made durable or the second; it may find a lock whose lease has
ended. Then either the database goes on, as it was before or after the request and as its answer
says, or the server ends: a start finds one of the two, and the same request, sent again, is done
once.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import pyzdb
from pyzdb.cli import Arguments, run
from pyzdb.engine.commits import Commits
from pyzdb.engine.core import Core
from pyzdb.engine.database import Database
from pyzdb.engine.replica import Replica
from pyzdb.engine.tree import SETTLED, Tree
from pyzdb.errors import CorruptFile, SyncFailed
from pyzdb.operations.edits import Change
from pyzdb.protocol.leases import MAX_LEASE
from pyzdb.protocol.requests import ReadAll, Write, encode_request
from pyzdb.storage.contents import read_contents
from pyzdb.storage.file_folder import FileFolder
from tests.torture.ledger import lost_file, recovered, seen
from tests.torture.memory import FILENAME, FILES, INCOMING, MemoryDisk, database_on
from tests.torture.report import Count, Options, Run
from tests.torture.workload import Workload

PACKAGE = str(Path(pyzdb.__file__).parent)

FAULTS = (MemoryError, RecursionError, KeyboardInterrupt, OSError)
"""What is raised: the kinds of which the program may treat one otherwise than another."""

Event = Literal["line", "opcode"]
"""What is counted: the lines that run, or the instructions of the interpreter."""

TOKEN = 7
"""The token of each lock, which is drawn elsewhere."""

START = 1_000_000.0
"""Seconds of the clock when a database is opened; it stands still."""

LATE = 0.5
"""The share of requests to a locked database that find the lease of the lock ended."""

PENDING = 0.3
"""The share of requests before which another one waits to be made durable."""

STEPS = 6
"""Requests between two that are interrupted, which make another database for the next one."""

RANDOM_NAME = re.compile(f"/{FILES}/[0-9a-f]*")
"""The beginning of a large file's name, which is another one each time."""

SAVE = encode_request(Write((), "save", version=2))
READ = encode_request(ReadAll(version=2))
WORKS = encode_request(Write((), "__setitem__", ("works", True), version=2))


class Interruption:
    """Raises ``fault`` at the ``at``-th ``event`` of the package in the block; ``left`` (int) is 0
    when it has done so."""

    def __init__(self, fault: type[BaseException], at: int, event: Event = "opcode") -> None:
        self.left = at
        self._fault = fault
        self._event = event

    def __enter__(self) -> Interruption:
        self._streams = sys.stdout, sys.stderr
        self._tracer = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._tracer)
        # Between the beginning of a `with` and its block Python knows of nothing to put back.
        sys.stdout, sys.stderr = self._streams

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = self._event == "opcode"
        if event == self._event and self.left > 0:
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise self._fault("planted")
        return self._trace


class StubbornCommits(Commits):
    """Commits that go on after one that failed half-way."""

    def end_unless_settled(self, error: BaseException) -> None:
        self.settle()


class StubbornDatabase(Database):
    """A planted fault: after a change that failed half-way it goes on."""

    new_commits = StubbornCommits


class KeepingTree(Tree):
    """A tree that takes nothing back."""

    __slots__ = ()

    def take_back(self, done: list[Change], kept: int, plain: bool) -> None:
        self.state = SETTLED


class KeepingDatabase(Database):
    """A planted fault: what was changed before an error stays in the tree."""

    new_tree = KeepingTree


PLANTS: dict[str | None, type[Database]] = {
    None: Database,
    "goes-on": StubbornDatabase,
    "keeps-change": KeepingDatabase,
}


class Scene(NamedTuple):
    """A request, and what it finds: a ``disk``, a message that is ``pending``, and a lock whose
    lease has ended (``late``)."""

    disk: MemoryDisk
    message: bytes
    pending: bytes | None
    late: bool


class Whole(NamedTuple):
    """What a scene comes to without an interruption: its answer, and what the database is after
    each record; ``before`` and ``after`` are sequences."""

    answer: Any
    states: dict[int, str]
    before: int
    after: int


class Stage:
    """One database, as it is opened for a scene; the messages of a scene are handled by `play`."""

    def __init__(self, folder: Path, scene: Scene, kind: type[Database]) -> None:
        self.disk = scene.disk.copy()
        self._scene = scene
        self._now = START
        self.database = database_on(
            self.disk,
            folder,
            clock=lambda: self._now,
            kind=partial(kind, new_token=lambda: TOKEN),
        )
        self.database.open()

    def prepare(self, pending: bool = True) -> None:
        """Do what comes before the request."""
        random.seed(0)  # for source that draws numbers
        if pending and self._scene.pending is not None:
            self.database.handle(self._scene.pending)
        if self._scene.late:
            self._now += MAX_LEASE + 1

    def play(self) -> Any:
        """Do the request and what a server does around it; return the answer."""
        database = self.database
        database.tick()
        answer = database.handle(self._scene.message)
        if database.save_fd is not None:
            database.finish_save()
        database.flush()
        return answer


class Playwright:
    """Makes scenes: requests of every kind, with the database that each was drawn for."""

    def __init__(self, test: Run) -> None:
        self._random = test.random
        self._disk = MemoryDisk()
        self._asked: list[tuple[MemoryDisk, bytes]] = []
        playwright = self

        class Noting(Database):
            def handle(self, message: bytes, on_lock_socket: bool = False) -> Any:
                playwright._asked.append((playwright._disk.copy(), message))
                return super().handle(message, on_lock_socket)

        self._database = database_on(self._disk, test.folder, clock=lambda: START, kind=Noting)
        self._database.open()
        self._incoming = str(test.folder / INCOMING)
        self._workload = Workload(test.random, self._database, self._disk, self._incoming, True)

    def scenes(self) -> Iterator[Scene]:
        """Ever more of them."""
        for number in count(1):
            for _ in range(STEPS):
                self._step()
            if number % STEPS == 0:
                yield Scene(self._disk.copy(), SAVE, None, False)
                self._database.save()  # so that a start does not read more and more
            else:
                yield self._scene()

    def _step(self) -> None:
        self._asked.clear()
        while not self._asked:
            self._workload.step()
        self._database.flush()

    def _scene(self) -> Scene:
        locked = self._database.lock.held is not None
        self._step()
        disk, message = self._asked[0]
        if self._random.random() < PENDING:
            self._step()
            later, last = self._asked[0]
            for name in later.names(self._incoming):
                path = os.path.join(self._incoming, name)
                disk.put(path, later.content(path))
            return Scene(disk, last, message, False)
        return Scene(disk, message, None, locked and self._random.random() < LATE)


class Director:
    """Plays a scene with each of its interruptions, and looks at what comes of it."""

    def __init__(self, test: Run, kind: type[Database]) -> None:
        self.interruptions = self.ends = 0
        self._test = test
        self._kind = kind
        self._filename = str(test.folder / FILENAME)

    def play(self, scene: Scene, most: int) -> None:
        """Play it with at most so many interruptions."""
        whole, points = self._whole(scene)
        drawn = range(1, points + 1)
        for at in sorted(self._test.random.sample(drawn, min(most, points))):
            fault = self._test.random.choice(FAULTS)
            try:
                wrong = self._interrupt(scene, whole, fault, at)
            except CorruptFile as error:
                wrong = f"it does not open again: {error}"
            self.interruptions += 1
            if wrong is not None:
                what = f"{fault.__name__} at instruction {at} of {scene.message[:200]!r}"
                self._test.violation(f"{what}: {wrong}")

    def _stage(self, scene: Scene) -> Stage:
        return Stage(self._test.folder, scene, self._kind)

    def _whole(self, scene: Scene) -> tuple[Whole, int]:
        """What the scene comes to, and how many instructions that takes."""
        stage = self._stage(scene)
        stage.prepare()
        before = stage.database.sequence
        with Interruption(KeyboardInterrupt, sys.maxsize) as counting:
            answer = stage.play()
        return Whole(answer, self._states(stage.disk), before, stage.database.sequence), (
            sys.maxsize - counting.left
        )

    def _states(self, disk: MemoryDisk) -> dict[int, str]:
        contents = read_contents(disk, self._filename)
        database = Replica(FileFolder(disk, self._filename))
        database.load(contents.state, contents.sequence)
        states = {database.sequence: state_of(database)}
        for sequence, body in contents.records():
            database.replay(sequence, body)
            states[sequence] = state_of(database)
        return states

    def _interrupt(
        self, scene: Scene, whole: Whole, fault: type[BaseException], at: int
    ) -> str | None:
        stage = self._stage(scene)
        stage.prepare()
        try:
            with Interruption(fault, at):
                answer = stage.play()
        except BaseException:
            self.ends += 1
            return self._after_end(stage, scene, whole)
        return self._after_answer(stage, scene, whole, answer)

    def _after_end(self, stage: Stage, scene: Scene, whole: Whole) -> str | None:
        """What is wrong when the server has ended."""
        database = stage.database
        if database.tree.state is not SETTLED:
            try:
                database.handle(READ)
            except SyncFailed:
                pass
            else:
                return "a database that is broken goes on answering"
        killed = self._found(stage.disk, whole)
        with suppress(Exception):
            database.close()
        return killed or self._found(self._sent_again(stage, scene, whole), whole, whole.after)

    def _sent_again(self, stage: Stage, scene: Scene, whole: Whole) -> MemoryDisk:
        """The disk after a start, when the clients have sent again what is not there."""
        again = self._stage(scene._replace(disk=stage.disk))
        again.prepare(again.database.sequence < whole.before)
        if again.database.sequence < whole.after:
            again.play()
        again.database.flush()
        return again.disk

    def _found(self, disk: MemoryDisk, whole: Whole, least: int = 0) -> str | None:
        """What is wrong with what a start would find."""
        database = recovered(disk, self._filename)
        sequence = database.sequence
        if sequence < least:
            return f"the request that was sent again is not done: {sequence} is the last record"
        if whole.states.get(sequence) != state_of(database):
            return f"after record {sequence} a start finds another database"
        lost = lost_file(disk, database)
        return None if lost is None else f"the large file {lost} is gone"

    def _after_answer(self, stage: Stage, scene: Scene, whole: Whole, answer: Any) -> str | None:
        """What is wrong when there was an answer."""
        database = stage.database
        if state_of(database) not in _possible(whole, answer):
            return f"it was answered {answer!r}, and the database is another one"
        if not self._in_files(stage):
            return f"it was answered {answer!r}, and the files hold another database"
        try:
            numbered = b'"number"' in scene.message and whole.before < database.sequence
            if numbered and database.handle(scene.message) != answer:
                return f"it was answered {answer!r}, and then something else"
            database.handle(WORKS)
            database.flush()
        except SyncFailed:
            self.ends += 1
            return self._after_end(stage, scene, whole)
        if not self._in_files(stage):
            return "a write after it is not in the files as it is in the database"
        lost = lost_file(stage.disk, database)
        return None if lost is None else f"the large file {lost} is gone"

    def _in_files(self, stage: Stage) -> bool:
        """True when a start would find what the database is now."""
        found = recovered(stage.disk, self._filename)
        live = stage.database
        return (found.sequence, seen(found)) == (live.sequence, seen(live))


def state_of(database: Core) -> str:
    """What a database is, without what is random in it."""
    return RANDOM_NAME.sub("", seen(database))


def _possible(whole: Whole, answer: Any) -> set[str]:
    """What a database may be that has answered so."""
    states = whole.states
    if answer == whole.answer:
        return {states[whole.after]}
    if _failed(answer) and not _failed(whole.answer):
        return {states[number] for number in states if number < max(whole.after, whole.before + 1)}
    return set(states.values())


def _failed(answer: Any) -> bool:
    """True for an error of either version, and for source that failed."""
    return answer.startswith(b'{"error"') or b"Traceback" in answer


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        requests=Count(100, 12, "requests that are interrupted"),
        points=Count(200, 60, "interruptions of each at most, drawn from all"),
    )
    options.add_plant(*filter(None, PLANTS))
    given = options.parse(arguments)
    return run(lambda: _test(given))


@contextmanager
def _no_log() -> Iterator[None]:
    """The log would be of nothing but interruptions."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _test(given: argparse.Namespace) -> int:
    with Run("faults", given.seed) as test, _no_log():
        director = Director(test, PLANTS[given.plant])
        scenes = Playwright(test).scenes()
        for done in range(given.requests):
            test.progress(done, given.requests, "requests")
            director.play(next(scenes), given.points)
        figures = {
            "requests": given.requests,
            "interruptions": director.interruptions,
            "ends of a server": director.ends,
        }
        return test.finish(figures)

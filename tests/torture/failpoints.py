"""Kill a process before and after each of its steps on the disk, and start another one.

Each life of the database is a process of its own, which opens what the one before left, writes a
little, and dies in the middle of an append, a save, the change to a new part of the journal, a
start, an end: with SIGKILL, before or after one of the calls to the file system that this takes.
The process that writes a snapshot beside the service dies as well. After each kill the files must
be one valid snapshot and journal, with all that was acknowledged, and large files too; the next
process starts from them without help.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn

import msgspec

from pyzdb.cli import Arguments, run
from pyzdb.engine.database import Database
from pyzdb.errors import CorruptFile
from pyzdb.protocol.replies import WireReply, decode_reply
from pyzdb.protocol.requests import Request, Write, encode_request
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.files import Files
from tests.torture.ledger import Ledger, Mark, lost_file, new_ledger, recovered
from tests.torture.memory import FILENAME, FILES, INCOMING
from tests.torture.report import Count, Options, Run
from tests.torture.workload import MOST_STEPS, Workload

CALLS = (
    *("create", "open", "write", "allocate", "truncate", "datasync", "sync"),
    *("rename", "link_held", "unlink", "make_folder", "sync_folder"),
)
"""The calls before and after which a process dies: all that change something, and `open`."""

LARGE = "x" * 300_000
"""A text that no room is ever made for before it is written."""

TORN = b"\xff\xfePR\x40"
"""The beginning of a record that was never written to its end."""

MOST_BEFORE = 4
"""Requests of a life before what it dies in, at most."""

MOST_LIVES = 20
"""Lives for each kill, at most: what a process does may depend on what was done before."""

LATER = 1 / 3
"""The share of kills that let the first of several equal calls pass, such as the writes of a
snapshot."""

CHILD = "the process of a save"


class Point(NamedTuple):
    """Where a process dies: "before" or "after" a call of a phase. Equal calls in a row have one
    number, as nobody can tell how many there will be."""

    phase: str
    number: int
    call: str
    when: str


class Notes:
    """What a life tells, line by line in a file, up to its end; its child can add to it, too."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, kind: str, value: Any = None) -> None:
        """Add a line."""
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, msgspec.json.encode((kind, value)) + b"\n")
        finally:
            os.close(fd)

    def take(self) -> list[tuple[str, Any]]:
        """Return the lines and begin anew."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        self._path.unlink(missing_ok=True)
        return [tuple(msgspec.json.decode(line)) for line in lines]


class DeadlyDisk(Disk):
    """A disk that ends the process at one ``fatal`` point; without one, it tells every point."""

    def __init__(self, notes: Notes, fatal: Point | None, random: Random) -> None:
        self._notes = notes
        self._fatal = fatal
        self._passing = random.random() < LATER
        self._pid = os.getpid()
        self.enter("")

    def enter(self, phase: str) -> None:
        """Begin to count anew."""
        self._phase, self._count, self._last = phase, 0, ""

    def count(self, call: str) -> int:
        """The number of the next call."""
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self.enter(CHILD)
        self._count += call != self._last
        self._last = call
        return self._count

    def reach(self, number: int, call: str, when: str) -> None:
        """Die here, or tell that this point was reached."""
        point = Point(self._phase, number, call, when)
        if point == self._fatal and self._passing:
            self._passing = False
        elif point == self._fatal:
            self._notes.tell("killed")
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fatal is None:
            self._notes.tell("point", point)


def _deadly(name: str) -> Callable[..., Any]:
    call = getattr(Disk, name)

    def step(self: DeadlyDisk, *arguments: Any, **named: Any) -> Any:
        number = self.count(name)
        self.reach(number, name, "before")
        result = call(self, *arguments, **named)
        self.reach(number, name, "after")
        return result

    return step


for _name in CALLS:
    setattr(DeadlyDisk, _name, _deadly(_name))


class TwoStepDisk(DeadlyDisk):
    """A planted fault: a file that is replaced is removed first."""

    def rename(self, source: str, target: str) -> None:
        if self.exists(target):
            self.unlink(target)
        super().rename(source, target)


class Life:
    """What one process does."""

    def __init__(
        self,
        folder: Path,
        notes: Notes,
        ledger: Ledger,
        disk: DeadlyDisk,
        random: Random,
        early: bool,
    ) -> None:
        self._notes = notes
        self._ledger = ledger
        self._disk = disk
        self._early = early  # a planted fault: to acknowledge before anything is durable
        incoming = str(folder / INCOMING)
        self._database = Database(
            FileStore(folder / FILENAME, disk=disk),
            history_limit=MOST_STEPS,
            files=Files(disk, str(folder / FILES), [incoming], str(folder / FILENAME)),
            exec=True,
        )
        self._workload = Workload(random, self._database, Disk(), incoming)

    def live(self, phase: str) -> None:
        """Start, do a little, and then the phase."""
        self._disk.enter(phase if phase in STARTS else "")
        self._database.open()
        self._note(started=True)
        if phase not in STARTS:
            self._disk.enter("")
            self._workload.plain = phase == FIRST_FILE  # with no other file before it
            for _ in range(self._workload.random.randint(0, MOST_BEFORE)):
                self._workload.step()
                self._note()
                self._acknowledge()
            self.append()
            self._workload.plain = False
            self._disk.enter(phase)
            PHASES[phase](self)
        self._disk.enter("")

    def _note(self, started: bool = False) -> None:
        self._ledger.note(self._database, started)
        sequence = self._database.sequence
        self._notes.tell("mark", (sequence, self._ledger.marks[sequence]))

    def _acknowledge(self) -> None:
        if self._early:
            self._notes.tell("acknowledged", self._database.sequence)
        self._database.flush()
        self._notes.tell("acknowledged", self._database.sequence)

    def _write(self, work: Callable[[], None]) -> None:
        """Do something that writes: it may have to be another client that asks for it."""
        sequence = self._database.sequence
        while self._database.sequence == sequence:
            work()
        self._note()
        self._acknowledge()

    def append(self) -> None:
        self._write(self._workload.set)

    def append_large(self) -> None:
        self._write(self._set_large)

    def _set_large(self) -> None:
        self._ask(Write((), "__setitem__", ("large", LARGE), version=2))

    def send_file(self) -> None:
        self._write(self._workload.send_file)

    def move_file(self) -> None:
        self._write(self._workload.move_file)

    def save(self) -> None:
        self._database.save()

    def save_beside(self) -> None:
        request = Write((), "save", version=2)
        request.ticket = self._ask(request).ticket
        self.append()
        self._database.finish_save()
        failure = self._ask(request).error
        self._notes.tell("saved", None if failure is None else str(failure))

    def close(self) -> None:
        self._database.close()

    def _ask(self, request: Request) -> WireReply:
        """Ask as the holder of the lock, if there is one."""
        held = self._database.lock.held
        request.token = None if held is None else held.token
        answer = self._database.handle(encode_request(request))
        assert isinstance(answer, bytes)
        return decode_reply(answer)


FIRST_START = "the first start"
SAVE = "a save"
SAVE_BESIDE = "a save beside the service"
FIRST_FILE = "the first large file"
SENT_FILE = "a large file that is sent"
START = "a start"
START_TORN = "a start after a torn write"
STARTS = (FIRST_START, START, START_TORN)

PHASES: dict[str, Callable[[Life], None]] = {
    "an append": Life.append,
    "an append that needs room": Life.append_large,
    FIRST_FILE: Life.send_file,
    SENT_FILE: Life.send_file,
    "a large file that is moved": Life.move_file,
    SAVE: Life.save,
    SAVE_BESIDE: Life.save_beside,
    "an end": Life.close,
}
"""What a process may die in, besides its start."""


class Lives:
    """The lives of one database, one after the other."""

    def __init__(self, test: Run, plant: str | None) -> None:
        self.kills = 0
        self._test = test
        self._plant = plant
        self._ledger = new_ledger(MOST_STEPS)
        self._notes = Notes(test.folder / "notes")
        self._filename = str(test.folder / FILENAME)
        (test.folder / INCOMING).mkdir()

    def points(self, only: str | None) -> list[Point]:
        """Every point there is, or those of one phase, found by lives that nobody kills."""
        found = []
        for phase in (*STARTS, *PHASES) if only is None else (only,):
            for before in (SAVE, SENT_FILE):  # most lives find a snapshot and a folder of files
                self._live(before, None)
            told = self._live(phase, None)
            found += [Point(*value) for kind, value in told if kind == "point" and value[0]]
        return list(dict.fromkeys(found))

    def die(self, point: Point) -> None:
        """Live until the point is reached, and die there."""
        phase = SAVE_BESIDE if point.phase == CHILD else point.phase
        for _ in range(MOST_LIVES):
            told = dict(self._live(phase, point))
            if "killed" in told:
                if point.phase == CHILD and told.get("saved") is None:
                    self._test.violation(f"{point}: the save is said to have succeeded")
                return
        self._test.violation(f"{point}: it was never reached")

    def _live(self, phase: str, fatal: Point | None) -> list[tuple[str, Any]]:
        """Let a process live, look at what it left, and return what it told.

        Raises CorruptFile when it left nothing that another one could start with.
        """
        if phase in (FIRST_START, FIRST_FILE):
            self._forget()
        elif phase == START_TORN:
            self._tear()
        random = Random(self._test.random.random())
        with warnings.catch_warnings():
            # the process uses none of the threads that Python warns about
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._be(phase, fatal, random)
        _, status = os.waitpid(pid, 0)
        told = self._notes.take()
        self.kills += ("killed", None) in told
        where = f"{fatal or phase}"
        if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
            self._test.violation(f"{where}: the process failed: {dict(told).get('failed')}")
        self._read(told)
        database = recovered(Disk(), self._filename)
        fault = self._ledger.fault(database)
        lost = lost_file(Disk(), database)
        if fault is None and lost is not None:
            fault = f"the large file {lost} is gone"
        if fault is not None:
            self._test.violation(f"{where}: {fault}")
        self._ledger.rewind(database)
        return told

    def _be(self, phase: str, fatal: Point | None, random: Random) -> NoReturn:
        """Be the process."""
        status = 1
        try:
            logging.disable()
            kind = TwoStepDisk if self._plant == "two-step-rename" else DeadlyDisk
            disk = kind(self._notes, fatal, random)
            early = self._plant == "early-answer"
            life = Life(self._test.folder, self._notes, self._ledger, disk, random, early)
            life.live(phase)
            status = 0
        except BaseException:
            self._notes.tell("failed", traceback.format_exc())
        finally:
            os._exit(status)

    def _read(self, told: list[tuple[str, Any]]) -> None:
        """Take over what a process knew of the database."""
        for kind, value in told:
            if kind == "mark":
                sequence, mark = value
                self._ledger.marks[sequence] = msgspec.convert(mark, Mark)
            elif kind == "acknowledged":
                self._ledger.acknowledged = value

    def _forget(self) -> None:
        """Begin with a new database."""
        self._ledger = new_ledger(MOST_STEPS)
        for path in self._test.folder.glob(f"{FILENAME}*"):
            path.unlink()
        shutil.rmtree(self._test.folder / FILES, ignore_errors=True)

    def _tear(self) -> None:
        """Leave the beginning of a record at the end of the journal."""
        for part in read_contents(Disk(), self._filename).parts[-1:]:
            with open(part.filename, "r+b") as file:
                file.seek(part.end)
                file.write(TORN)


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(__doc__, prog, kills=Count(20, 1, "how often a process dies at each point"))
    options.parser.add_argument(
        "--phase", choices=(*STARTS, *PHASES), help="die in nothing but this (default: in all)"
    )
    options.add_plant("two-step-rename", "early-answer")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("failpoints", given.seed) as test:
        lives = Lives(test, given.plant)
        points = lives.points(given.phase)
        deaths = list(itertools.product(points, range(given.kills)))
        test.random.shuffle(deaths)
        try:
            for done, (point, _) in enumerate(deaths):
                test.progress(done, len(deaths), "kills")
                lives.die(point)
        except CorruptFile as error:
            test.violation(f"the last of {lives.kills} kills was the end of it: {error}")
        return test.finish({"points": len(points), "kills": lives.kills})

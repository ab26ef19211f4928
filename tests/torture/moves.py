"""Move, remove and replace the files of a server while it is written to.

Its folder is moved and a backup put in its place, its lock file, journal or saved file is removed,
a backup is copied over its files or put where they were. Everything that was acknowledged must be
in the folder that the server worked in, and all that somebody else put there must be as it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyzdb.cli import DISK_FAILED, OK, Arguments, run
from pyzdb.client import client
from pyzdb.errors import PyzdbError
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from tests.torture.faulty import FaultyServer, serve_on
from tests.torture.ledger import recovered
from tests.torture.memory import FILENAME
from tests.torture.report import Count, Options, Run

MOST_WRITES = 30
"""Writes at most before the backup, between it and the fault, and after that."""

SAVED = 0.3
"""The share of these after which the database is saved."""

PATIENCE = 0.5
"""Seconds without an answer after which nothing more is written: the server has mostly ended."""

OPTIONS = ("--snapshot-bytes", "3000")
"""What makes the server save by itself, too."""


class PathDisk(Disk):
    """A planted fault: files are reached by the path of the folder, whatever that leads to."""

    def work_in(self, folder: str) -> None:
        pass


class BlindStore(FileStore):
    """The rest of it: nobody looks whether they are still the same."""

    def _look_around(self) -> None:
        pass


def _serve_blindly(arguments: Sequence[str]) -> int:
    return serve_on(PathDisk(), arguments, BlindStore)


class Case:
    """One life of a server: ``data`` is its folder, ``backup`` a copy of an earlier moment."""

    def __init__(self, test: Run, folder: Path, blind: bool) -> None:
        self.data = folder / "data"
        self.backup = folder / "backup"
        self.old = folder / "old"
        self.theirs: dict[str, bytes] = {}
        self._test = test
        self._acknowledged = 0
        self._ends = False
        self.data.mkdir(parents=True)
        self._server = FaultyServer(self.data, Disk(), *OPTIONS)
        if blind:
            self._server.program = _serve_blindly
        self._server.log = folder / "server.log"

    def live(self, fault: Callable[[Case], None]) -> str | None:
        """Write, do the fault while the server stands still, write on, and end it: what was wrong
        then, or None."""
        with self._server as server:
            server.start()
            server.wait_until_ready()
            db, connection = client(server.write_uri, timeout=PATIENCE)
            with connection:
                self._write(db)
                self._meanwhile(lambda: shutil.copytree(self.data, self.backup))
                self._write(db)
                self._meanwhile(lambda: fault(self))
                self._write(db)
            if not server.has_ended():
                os.kill(server.pid, signal.SIGTERM)
            status = server.status()
        if status not in (OK, DISK_FAILED):
            return f"the exit status is {status}"
        return self._lost() or self._touched()

    def _meanwhile(self, work: Callable[[], object]) -> None:
        os.kill(self._server.pid, signal.SIGSTOP)
        work()
        os.kill(self._server.pid, signal.SIGCONT)

    def _write(self, db: Any) -> None:
        try:
            for _ in range(self._test.random.randint(1, MOST_WRITES)):
                if self._ends:
                    return
                db[self._acknowledged] = "x" * self._test.random.randrange(200)
                self._acknowledged += 1
            if self._test.random.random() < SAVED:
                db.save()
        except PyzdbError:
            self._ends = True

    def _lost(self) -> str | None:
        folder = self.old if self.old.exists() else self.data
        rescued = folder / f"{FILENAME}.rescued"
        found = recovered(Disk(), str(rescued if rescued.exists() else folder / FILENAME))
        missing = [n for n in range(self._acknowledged) if n not in found.tree.root]
        return (
            f"{missing} of {self._acknowledged} acknowledged writes are gone" if missing else None
        )

    def _touched(self) -> str | None:
        now = content(self.data)
        changed = [name for name, data in self.theirs.items() if now.get(name) != data]
        return f"{changed} of somebody else was written over" if changed else None


def content(folder: Path) -> dict[str, bytes]:
    """What the files of a database hold, but for the one that says who holds it."""
    paths = [path for path in folder.glob(f"{FILENAME}*") if path.suffix != ".lock"]
    return {path.name: path.read_bytes() for path in paths}


def _move(case: Case) -> None:
    case.data.rename(case.old)
    shutil.copytree(case.backup, case.data)
    case.theirs = content(case.data)


def _remove_lock(case: Case) -> None:
    (case.data / f"{FILENAME}.lock").unlink()


def _remove_journal(case: Case) -> None:
    for path in case.data.glob(f"{FILENAME}.journal-*"):
        path.unlink()


def _remove_snapshot(case: Case) -> None:
    (case.data / FILENAME).unlink(missing_ok=True)


def _copy_over(case: Case) -> None:
    for path in case.data.glob(f"{FILENAME}*"):
        if not (case.backup / path.name).exists():
            path.unlink()
    for path in case.backup.glob(f"{FILENAME}*"):
        shutil.copyfile(path, case.data / path.name)
    case.theirs = content(case.data)


def _put_in_place(case: Case) -> None:
    for path in case.data.glob(f"{FILENAME}*"):
        path.unlink()
    _copy_over(case)


FAULTS: dict[str, Callable[[Case], None]] = {
    "the folder is moved": _move,
    "the lock file is removed": _remove_lock,
    "the journal is removed": _remove_journal,
    "the saved file is removed": _remove_snapshot,
    "a backup is copied over the files": _copy_over,
    "a backup is put in their place": _put_in_place,
}


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(__doc__, prog, times=Count(50, 1, "how often each of the faults is done"))
    options.add_plant("blind")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("moves", given.seed) as test:
        faults = list(FAULTS) * given.times
        for done, name in enumerate(faults):
            test.progress(done, len(faults), "faults")
            wrong = Case(test, test.folder / str(done), given.plant is not None).live(FAULTS[name])
            if wrong is not None:
                test.violation(f"{name} ({done}): {wrong}")
            else:
                shutil.rmtree(test.folder / str(done))
        return test.finish({"faults": len(faults)})

"""Fill the disk of a server and free it again.

The disk is a small tmpfs that is filled again and again; where this user may mount none, the files
of the server are not allowed to grow. Clients then write until there is no room: each write is done
or refused with StorageFull, what removes something or undoes that is always done, the tree stays
what the writes that were done made of it, and it is read all the time. With room again, writes go
on. Now and then the server is killed: no file may hold a record that is not whole, and the tree
must be there again.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pyzdb.cli import Arguments, run
from pyzdb.client import client
from pyzdb.errors import PyzdbError, SnapshotFailed, StorageFull
from pyzdb.storage.contents import examine
from pyzdb.storage.disk import Disk
from pyzdb.values import File
from tests.torture.faulty import FaultyServer
from tests.torture.processes import ServerEnded
from tests.torture.report import Count, Options, Run

DISK_SIZE = 16 * 1024 * 1024
"""Bytes of the disk that is filled: a few times what the database takes at most."""

OPTIONS = ("--snapshot-bytes", "1000000", "--history-limit", "20")
"""What keeps the database small, and lets it save by itself, which fails on a full disk too."""

KEYS = 8

LARGEST = 50_000
"""Characters of the largest text that is written: the room that is left is soon used up."""

MOST_WRITES = 1_000
"""Writes until a full disk must have been noticed: far more than there ever is room for."""

FULL_WRITES = 3
"""Writes of each kind that are tried while the disk is full."""

FREE_WRITES = 10
"""Writes at most between two fillings."""

KILLED = 0.2
"""The share of fillings after which the server is killed."""

PATIENCE = 6.0
"""Seconds without an answer after which a server is given up."""


class SmallDisk(Protocol):
    """A disk that can be filled."""

    def fill(self) -> None:
        """Leave no room."""

    def free(self) -> None:
        """Make room again."""


class Ballast:
    """Fills a small disk with a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self) -> None:
        self._path.unlink()


class FileLimit:
    """Lets the files of a server grow no more; for where no small disk can be had."""

    def __init__(self, server: FaultyServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        _, self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        journal = max(self._folder.glob("*.journal-*"))
        self._limit(journal.stat().st_size)

    def free(self) -> None:
        self._limit(self._hard)

    def _limit(self, size: int) -> None:
        resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (size, self._hard))


@contextlib.contextmanager
def small_disk(test: Run) -> Iterator[Path | None]:
    """A folder with a small disk of its own; None when this user may mount none."""
    folder = test.folder / "disk"
    folder.mkdir()
    command = ("mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder))
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield None
        return
    try:
        yield folder
        if test.violations:
            shutil.copytree(folder, test.folder / "disk as it was")
    finally:
        # A process that writes a snapshot may have a moment left after its server.
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


class FullDiskIgnored(Disk):
    """A planted fault: no notice is taken when there is no room."""

    def allocate(self, fd: int, offset: int, size: int) -> None:
        with contextlib.suppress(OSError):
            super().allocate(fd, offset, size)


class Filling:
    """Writes to a server whose disk is filled; ``tree`` is what it must hold."""

    def __init__(self, test: Run, server: FaultyServer, disk: SmallDisk, db: Any) -> None:
        self.refused = 0
        self.done = 0
        self._test = test
        self._server = server
        self._disk = disk
        self._db = db
        self._tree: dict[str, Any] = {}

    def once(self) -> None:
        """Fill the disk, write, free it, write. Raises ServerEnded when the server has."""
        self._disk.fill()
        refused = self.refused
        for _ in range(MOST_WRITES):
            self._set()
            if self.refused > refused:
                break
        else:
            self._test.violation("the disk is full, and every write is acknowledged")
        for _ in range(FULL_WRITES):
            self._set()
            self._batch()
            self._file()
            self._remove()
        self._check("with a full disk")
        with contextlib.suppress(SnapshotFailed):
            self._db.save()
        self._disk.free()
        refused = self.refused
        for _ in range(self._test.random.randint(1, FREE_WRITES)):
            self._set()
        if self.refused > refused:
            self._test.violation("there is room again, and a write is refused")
        self._check("with room again")
        if self._test.random.random() < KILLED:
            self.kill()

    def kill(self) -> None:
        """Kill the server, look at its files, and start it again."""
        self._server.kill()
        contents = examine(Disk(), str(self._server.filename))
        for damage in contents.damages:
            self._test.violation(str(damage))
        if contents.torn_part is not None:
            self._test.violation(f"{contents.torn_part.filename} holds a partial record")
        self._server.start()
        self._server.wait_until_ready()
        self._check("after a restart")

    def _set(self) -> None:
        key, text = self._key(), self._text()
        if self._does(lambda: self._db.__setitem__(key, text)):
            self._tree[key] = text

    def _remove(self) -> None:
        """What makes room is done on a full disk as well: a key removed, put back and removed."""
        if not self._tree:
            return
        key = next(iter(self._tree))
        try:
            del self._db[key]
            self._db.undo()
            self._db.pop(key)
        except StorageFull as error:
            self._test.violation(f"nothing can be removed: {error}")
            self._tree = self._db._run()
        else:
            del self._tree[key]

    def _batch(self) -> None:
        new = {self._key(): self._text() for _ in range(3)}

        def work() -> None:
            with self._db.batch() as batch:
                for key, text in new.items():
                    batch[key] = text

        if self._does(work):
            self._tree |= new

    def _file(self) -> None:
        content = self._test.random.randbytes(LARGEST)
        if self._does(lambda: self._db.__setitem__("file", File(None, "name", content))):
            self._tree["file"] = self._db["file"]._run()

    def _does(self, work: Callable[[], object]) -> bool:
        """True when the server has done it, False when there was no room."""
        try:
            work()
        except StorageFull:
            self.refused += 1
            return False
        self.done += 1
        return True

    def _check(self, when: str) -> None:
        found = self._db._run()
        if found != self._tree:
            names = sorted(
                key
                for key in found.keys() | self._tree.keys()
                if found.get(key) != self._tree.get(key)
            )
            self._test.violation(
                f"{when} the tree is not what the writes made of it: {names} differ, "
                f"{sorted(self._tree.keys() - found.keys())} are missing"
            )
            self._tree = found

    def _key(self) -> str:
        return f"key {self._test.random.randrange(KEYS)}"

    def _text(self) -> str:
        return "x" * self._test.random.randrange(LARGEST)


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(__doc__, prog, times=Count(100, 5, "how often the disk is filled"))
    options.add_plant("full-ignored")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    disk = FullDiskIgnored() if given.plant else Disk()
    with Run("full", given.seed) as test, small_disk(test) as folder:
        where = folder or test.folder
        with FaultyServer(where, disk, *OPTIONS) as server:
            server.log = test.folder / "server.log"
            server.start()
            db, connection = client(server.write_uri, timeout=PATIENCE)
            with connection:
                small = Ballast(folder) if folder else FileLimit(server, where)
                filling = Filling(test, server, small, db)
                times = _fill(test, server, filling, given.times)
        return test.finish(
            {
                "times full": times,
                "writes refused": filling.refused,
                "writes done": filling.done,
            }
        )


def _fill(test: Run, server: FaultyServer, filling: Filling, times: int) -> int:
    """Fill the disk so often, and return how often it could be done."""
    done = 0
    try:
        server.wait_until_ready()
        while done < times:
            filling.once()
            done += 1
            test.progress(done, times, "times full")
        filling.kill()
        server.stop()
    except (ServerEnded, PyzdbError) as error:
        test.violation(f"after {done} times full: {error!r}")
        with contextlib.suppress(ServerEnded):
            server.check()
    return done

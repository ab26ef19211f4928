"""Fill the disk of a server and free it again, and have its disk fail.

First a server's disk, a small tmpfs, is filled again and again (where none may be mounted, the size
of its files is limited). Clients then write until there is no room: each write is done or refused
with StorageFull, the tree stays what the writes that were done made of it, and is read all the
time. With room again, writes go on. Now and then the server is killed: no file may hold a record
that is not whole, and the tree must be there again.

Then, with k = 1, 2, 3..., the k-th fdatasync of a server fails, and what was not synced before is
gone. The server must end with status 3 and a message, having acknowledged nothing that this sync
was for, and the next one must know all that was acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol
from unittest.mock import patch

import zmq

from pyzdb.cli import DISK_FAILED, Arguments, run, serve
from pyzdb.client import client
from pyzdb.errors import PyzdbError, SnapshotFailed, StorageFull
from pyzdb.messages import Request, encode_request
from pyzdb.storage import store as stores
from pyzdb.storage.contents import examine
from pyzdb.storage.disk import Disk
from pyzdb.values import File
from torture.processes import READY_LIMIT, Server, ServerEnded
from torture.report import Count, Options, Run

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

WRITERS = 4
"""Clients whose writes one sync may acknowledge together."""

ROUNDS_MORE = 3
"""Writes of each client after those in which the sync must have failed."""


# --- the full disk -------------------------------------------------------------------------


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
        subprocess.run(("umount", str(folder)), check=True)


class FullDiskIgnored(Disk):
    """A planted fault: no notice is taken when there is no room."""

    def allocate(self, fd: int, offset: int, size: int) -> None:
        with contextlib.suppress(OSError):
            super().allocate(fd, offset, size)


class Filling:
    """Writes to a server whose disk is filled; ``tree`` is what it must hold."""

    def __init__(self, test: Run, server: Server, disk: SmallDisk, db: Any) -> None:
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

    def _does(self, work: Any) -> bool:
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
            self._test.violation(f"{when} the tree is not what the writes made of it")
            self._tree = found

    def _key(self) -> str:
        return f"key {self._test.random.randrange(KEYS)}"

    def _text(self) -> str:
        return "x" * self._test.random.randrange(LARGEST)


def _fill(test: Run, given: argparse.Namespace) -> dict[str, int]:
    """Fill the disk again and again, and return the figures."""
    faults = {"full-ignored": FullDiskIgnored}
    with small_disk(test) as folder:
        where = folder or test.folder
        with FaultyServer(where, faults.get(given.plant, Disk)(), *OPTIONS) as server:
            server.log = test.folder / "server.log"
            server.start()
            disk = Ballast(folder) if folder else FileLimit(server, where)
            db, connection = client(server.write_uri, timeout=READY_LIMIT / 10)
            with connection:
                filling = Filling(test, server, disk, db)
                done = 0
                try:
                    server.wait_until_ready()
                    while done < given.full:
                        filling.once()
                        done += 1
                        test.progress(done, given.full, "times full")
                    filling.kill()
                    server.stop()
                except (ServerEnded, PyzdbError) as error:
                    test.violation(f"after {done} times full: {error!r}")
                    with contextlib.suppress(ServerEnded):
                        server.check()
    return {"times full": done, "writes refused": filling.refused, "writes done": filling.done}


# --- the disk that fails -------------------------------------------------------------------


class FailingDisk(Disk):
    """A disk on which the ``fatal``-th fdatasync fails: what was not synced before is gone."""

    def __init__(self, fatal: int) -> None:
        self._left = fatal
        self._unsynced: list[tuple[int, int, int]] = []

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        super().write(fd, data, offset)
        self._unsynced.append((fd, offset, len(data)))

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._unsynced = [write for write in self._unsynced if write[0] != fd]

    def datasync(self, fd: int) -> None:
        self._left -= 1
        if self._left == 0:
            for lost, offset, size in self._unsynced:
                if lost == fd:
                    os.pwrite(fd, bytes(size), offset)
            self.fail()
        else:
            super().datasync(fd)
            self._unsynced = [write for write in self._unsynced if write[0] != fd]

    def fail(self) -> None:
        """What becomes of the sync."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class SilentDisk(FailingDisk):
    """A planted fault: nobody hears of the sync that failed."""

    def fail(self) -> None:
        pass


class FaultyServer(Server):
    """A server that works on another disk."""

    ENDS_WITHIN: ClassVar[float] = 10.0
    """Seconds that a server may take to end after its disk has failed."""

    def __init__(self, folder: Path, disk: Disk, *options: str) -> None:
        super().__init__(folder, *options)
        self.program = partial(_serve_on, disk)

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def has_ended(self) -> bool:
        """True when the process has ended by itself."""
        assert self._process is not None
        return self._process.exitcode is not None

    def status(self) -> int | None:
        """The exit status, which is waited for; None when the process goes on."""
        assert self._process is not None
        self._process.join(self.ENDS_WITHIN)
        status = self._process.exitcode
        if status is not None:
            self._process.close()
            self._process = None
        return status


def _serve_on(disk: Disk, arguments: Sequence[str]) -> int:
    with patch.object(stores, "Disk", lambda: disk):
        return serve.main(arguments)


class Writers:
    """Clients that each set a key of their own to 1, 2, 3..., all at the same time."""

    def __init__(self, test: Run) -> None:
        self.acknowledged = dict.fromkeys((f"writer {n}" for n in range(WRITERS)), 0)
        self._test = test
        self._sent = 0

    def write(self, server: FaultyServer, rounds: int) -> bool:
        """Write to a server so often at most; True when it ends before."""
        with zmq.Context() as context, contextlib.ExitStack() as stack:
            sockets = {}
            for name in self.acknowledged:
                sockets[name] = socket = stack.enter_context(context.socket(zmq.REQ))
                socket.linger = 0
                socket.connect(server.write_uri)
            for _ in range(rounds):
                self._sent += 1
                for name, socket in sockets.items():
                    socket.send(self._request(name))
                if not self._hear(server, sockets):
                    return True
        return False

    def _request(self, name: str) -> bytes:
        number = self._sent
        return encode_request(
            Request("write", 2, (), "__setitem__", (name, number), client=name, number=number)
        )

    def _hear(self, server: FaultyServer, sockets: dict[str, zmq.Socket[bytes]]) -> bool:
        """Wait for all answers; False when the server ends before."""
        waiting = dict(sockets)
        ended = False
        while waiting and not ended:
            ended = server.has_ended()  # what it said before its end is heard still
            for name, socket in list(waiting.items()):
                if socket.poll(0 if len(waiting) < WRITERS and not ended else 10):
                    socket.recv()
                    del waiting[name]
                    self.acknowledged[name] = self._sent
        return not waiting

    def check(self, tree: dict[str, Any]) -> None:
        """Compare with what a server knows after a restart."""
        for name, number in self.acknowledged.items():
            found = tree.get(name, 0)
            if not number <= found <= self._sent:
                self._test.violation(
                    f"{name}: {number} was acknowledged, {self._sent} sent, and {found} is there"
                )
                self.acknowledged[name] = found


def _fail(test: Run, given: argparse.Namespace) -> dict[str, int]:
    """Let one sync after the other fail, and return the figures."""
    folder = test.folder / "failing"
    folder.mkdir()
    faults = {"sync-ignored": SilentDisk}
    writers = Writers(test)
    failed = 0
    for fatal in range(1, given.syncs + 1):
        with FaultyServer(folder, faults.get(given.plant, FailingDisk)(fatal)) as server:
            _fail_once(test, server, writers, fatal)
        with Server(folder) as restarted:
            try:
                writers.check(_tree(restarted))
            except ServerEnded as error:
                test.violation(f"after sync {fatal} failed: {error}")
                break
        failed += 1
        test.progress(failed, given.syncs, "failed syncs")
    return {"syncs failed": failed, "writes acknowledged": sum(writers.acknowledged.values())}


def _tree(server: Server) -> Any:
    """What a server holds that is started for it."""
    server.start()
    server.wait_until_ready()
    db, connection = client(server.write_uri)
    with connection:
        return db._run()


def _fail_once(test: Run, server: FaultyServer, writers: Writers, fatal: int) -> None:
    """Write until a sync fails, and look at how the server ends."""
    server.start()
    server.wait_until_ready()
    ended = writers.write(server, fatal + ROUNDS_MORE)
    status = server.status() if ended else None
    if status != DISK_FAILED:
        test.violation(f"sync {fatal} failed, and the server's exit status is {status}")
    if os.strerror(errno.EIO) not in server.log.read_text():
        test.violation(f"sync {fatal} failed, and the server does not say so")


def main(arguments: Arguments = None, prog: str | None = None) -> int:
    """Run the test and return the exit status."""
    options = Options(
        __doc__,
        prog,
        full=Count(100, 5, "how often the disk is filled"),
        syncs=Count(100, 4, "servers whose first, second, third... fdatasync fails"),
    )
    options.add_plant("full-ignored", "sync-ignored")
    given = options.parse(arguments)
    return run(lambda: _test(given))


def _test(given: argparse.Namespace) -> int:
    with Run("disk", given.seed) as test:
        figures = _fill(test, given) | _fail(test, given)
        return test.finish(figures)

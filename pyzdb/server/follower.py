"""How a read-only server keeps up with the one that writes: by reading its files.

Rules this module keeps:

- What is served is always one whole version: that of a snapshot and the records after it, in
  order. It never goes back to an older one, unless an older copy was put in the place of the files.
- Nothing is served that the writing server could not acknowledge yet: it says how far that is.
- The newest part of the journal is read as it grows, and then the next one; when that is gone,
  because a save replaced it, the snapshot is read again.
- A look takes a short time, whatever there is to do: those who ask are answered in between.
- A file that is missing or changes while it is read is no error at first: the next look may find it
  whole, and the version before is served until then. After a while reads are refused.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

from pyzdb.engine.database import Database
from pyzdb.errors import CorruptFile, StaleReplica, StorageError
from pyzdb.protocol.messages import Envelope, Reply, encode_reply
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk, database_path
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import (
    HEADER_SIZE,
    Part,
    part_names,
    read_header,
    read_records,
    record_size,
)
from pyzdb.storage.published import published
from pyzdb.storage.snapshot import read_head
from pyzdb.storage.store import ReadOnlyStore

LOOK_INTERVAL = 0.05
"""Seconds between two looks at the files, also under constant load: a new version is served well
within 0.2 seconds, and looking costs some microseconds."""

PIECE = 0.01
"""Seconds that one look spends on new records, while who asks waits: thousands of usual ones."""

CHUNK = 1 << 20
"""Bytes of the journal that are read at a time: thousands of usual records."""

START_PATIENCE = 5.0
"""Seconds that a start waits for files that can be read: a writing server that starts in the same
moment makes them."""

START_LOOK = 0.1
"""Seconds between two looks until then."""

REMIND_INTERVAL = 60.0
"""Seconds between two lines in the log about the same trouble."""

STALE_AFTER = 60.0
"""Seconds after which what was read last is too old to be served."""

logger = logging.getLogger(__name__)


class Replica(Database):
    """A database that another server writes, told by `load` and `replay` what to hold.

    ``catch_up`` is called when a client wants what is not there yet. While ``stale`` says why the
    files cannot be read, every request gets that for an answer.
    """

    def __init__(self, folder: FileFolder | None = None) -> None:
        super().__init__(ReadOnlyStore(), folder=folder)
        self.catch_up: Callable[[], object] = lambda: None
        self.stale: str | None = None

    def answer(self, envelope: Envelope) -> bytes | Envelope:
        request = envelope.request
        if request.at_least > self.sequence:
            self.catch_up()
            if request.at_least > self.sequence:
                return encode_reply(Reply(wait="behind"), 2, self.sequence)
        if self.stale is not None:
            error = StaleReplica(self.stale)
            return encode_reply(Reply(error=error), request.version, self.sequence)
        return super().answer(envelope)


class Follower:
    """Keeps a replica at the newest version of the files of another database.

    ``clock`` gives seconds of a monotonic clock.
    """

    def __init__(
        self,
        replica: Replica,
        filename: str,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replica = replica
        self._filename = database_path(filename)
        self._disk = disk or Disk()
        self._clock = clock
        self._snapshot: tuple[int, int, int, int] | None = None
        self._fd: int | None = None
        self._part: Part | None = None
        self._offset = 0
        self._pending: deque[tuple[int, bytes]] = deque()
        self._durable: int | None = None
        self._due = 0.0
        self._unread_since: float | None = None
        self._reminded = 0.0
        replica.catch_up = self.look

    def start(self) -> None:
        """Return when there is a version to serve. Raises StorageError when there is none."""
        ends = self._clock() + START_PATIENCE
        waits = False
        while True:
            try:
                if self._exists():
                    self._read_all()
                    self._snapshot = self._disk.identity(self._filename)
                    return
                trouble: str | None = None
            except (OSError, CorruptFile) as error:
                trouble = str(error)
            if self._clock() > ends:
                raise StorageError(trouble or f"there is no database {self._filename}")
            if not waits:
                waits = True
                logger.warning("waiting for the server that writes %s", self._filename)
            time.sleep(START_LOOK)

    def tick(self) -> float:
        """Look when it is time to; return the seconds until the next look."""
        now = self._clock()
        if now >= self._due:
            goes_on = self.look()
            self._due = self._clock() + (0.0 if goes_on else LOOK_INTERVAL)
        return max(0.0, self._due - self._clock())

    def look(self) -> bool:
        """Bring the replica nearer to the newest version that can be read; True when there is
        more to do at once."""
        try:
            goes_on = self._look()
        except (OSError, CorruptFile) as error:
            self._note_trouble(str(error))
            return False
        except MemoryError:
            # How far it came is not known: the next look begins anew.
            self.close()
            self._snapshot = None
            self._note_trouble("there is not enough memory")
            return False
        if self._unread_since is not None:
            logger.warning("%s can be read again", self._filename)
            self._unread_since = self._replica.stale = None
        return goes_on

    def close(self) -> None:
        """Let go of the files."""
        if self._fd is not None:
            self._disk.close(self._fd)
        self._fd = self._part = None
        self._pending.clear()

    def _note_trouble(self, text: str) -> None:
        now = self._clock()
        if self._unread_since is None:
            self._unread_since, self._reminded = now, now - REMIND_INTERVAL
        if now - self._reminded >= REMIND_INTERVAL:
            self._reminded = now
            logger.error("the version before is still served: %s", text)
        if now - self._unread_since >= STALE_AFTER:
            self._replica.stale = (
                f"this read-only server has not been able to read its files for more than "
                f"{STALE_AFTER:.0f} s: {text}"
            )

    def _look(self) -> bool:
        self._durable = published(self._disk, self._filename)
        try:
            if self._follow():
                return True
        except CorruptFile:
            self.close()  # to begin anew with the snapshot
            raise
        identity = self._disk.identity(self._filename)
        if self._part is not None and self._is_there(self._part):
            if identity in (None, self._snapshot):
                return False
            if self._is_of(self._part):
                self._snapshot = identity
                return False
            if self._following(self._part) is not None:
                return True
        elif self._part is None and identity in (None, self._snapshot) and not self._has_journal():
            return False
        if not self._exists():
            raise FileNotFoundError(errno.ENOENT, "all files of the database are gone")
        self._read_all()
        self._snapshot = identity
        return bool(self._pending)

    def _follow(self) -> bool:
        """Do some of the records that were added; True when more can be done at once."""
        ends = self._clock() + PIECE
        while True:
            while self._pending and self._may_do(self._pending[0][0]):
                self._replica.replay(*self._pending[0])
                self._pending.popleft()
                if self._clock() >= ends:
                    return True
            if self._pending or self._part is None or self._fd is None:
                return False
            if not self._read_records(self._fd, self._part) and not self._go_on(self._part):
                return False

    def _may_do(self, sequence: int) -> bool:
        """True for a record that the writing server may have acknowledged."""
        return self._durable is None or sequence <= self._durable

    def _read_records(self, fd: int, part: Part) -> bool:
        """Read the records of the next piece of the part; False when there is none."""
        part.data = self._disk.read(fd, CHUNK, self._offset)
        size = record_size(part.data)
        if size > CHUNK:
            part.data = self._disk.read(fd, size, self._offset)
        part.records.clear()
        part.end = 0
        read_records(part)
        self._pending.extend(part.bodies())
        self._offset += part.end
        return bool(part.records)

    def _go_on(self, part: Part) -> bool:
        """Go to the part after one that has no more records; False when there is none yet."""
        path = self._following(part)
        if path is None:
            return False
        fd = self._disk.open(path)
        try:
            following = read_header(self._disk.read(fd, HEADER_SIZE, 0), path)
            if following.previous != part.chain:
                raise CorruptFile(f"{path} does not continue {part.filename}", path, 0)
        except BaseException:
            self._disk.close(fd)
            raise
        self.close()
        self._fd, self._part, self._offset = fd, following, HEADER_SIZE
        return True

    def _following(self, part: Part) -> str | None:
        """The path of the part after one; None when there is none yet."""
        path = Layout(self._filename).part(part.sequence + 1)
        # As long as a part has no records, the next record is its own first one.
        return None if path == part.filename or not self._disk.exists(path) else path

    def _is_of(self, part: Part) -> bool:
        """True when the snapshot is the one that a save made just before the part began."""
        with closing(self._disk.reader(self._filename)) as file:
            head = read_head(file, self._filename)
        return head is not None and (head.sequence, head.chain) == (part.first - 1, part.previous)

    def _is_there(self, part: Part) -> bool:
        """True while the file of the part has its name."""
        assert self._fd is not None
        held, named = self._disk.status(self._fd), self._disk.identity(part.filename)
        return named is not None and named[:2] == (held.st_dev, held.st_ino)

    def _exists(self) -> bool:
        return self._disk.exists(self._filename) or self._has_journal()

    def _has_journal(self) -> bool:
        return bool(part_names(self._disk, self._filename))

    def _read_all(self) -> None:
        self._durable = published(self._disk, self._filename)
        contents = read_contents(self._disk, self._filename)
        replica = self._replica
        start = contents.snapshot.sequence if contents.snapshot else 0
        newest = self._newest(start, contents.sequence)
        if newest < replica.sequence:
            logger.error(
                "an older copy of %s was put in its place: what is served goes back from record "
                "%d to %d",
                self._filename,
                replica.sequence,
                newest,
            )
        self.close()
        replica.load(contents.state, start)
        for sequence, body in contents.records():
            if sequence <= newest:
                replica.replay(sequence, body)
            else:
                self._pending.append((sequence, body))
        logger.info("follows %s from record %d on", self._filename, replica.sequence)
        if contents.parts:
            part = contents.parts[-1]
            self._fd = self._disk.open(part.filename)
            self._part, self._offset = part, part.end

    def _newest(self, start: int, last: int) -> int:
        """The last record that may be shown of those up to ``last``, after a snapshot that ends
        with ``start``, which is durable as such."""
        return last if self._durable is None else max(start, min(last, self._durable))

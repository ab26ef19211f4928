"""How a read-only server keeps up with the one that writes: by reading its files.

Rules this module keeps:

- What is served is always one whole version: that of a snapshot and the records after it, in
  order. It never goes back to an older one, unless an older copy was put in the place of the files.
- Nothing is served that the writing server could not acknowledge yet (storage/reader.py).
- The journal is followed from record to record; when the next one is gone, because a save replaced
  it, the snapshot is read again.
- A look takes a short time, whatever there is to do: those who ask are answered in between.
- A file that is missing or changes while it is read is not an error at first: the next look may
  find it whole, and the version before is served until then. After a while reads are refused.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress

from pyzdb.engine.replica import Replica
from pyzdb.errors import CorruptFile, StorageError
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk, Identity, database_path
from pyzdb.storage.parts import Record, part_names
from pyzdb.storage.published import published
from pyzdb.storage.reader import Durable, JournalReader
from pyzdb.storage.snapshot import read_head

LOOK_INTERVAL = 0.05
"""Seconds between two looks at the files, also under constant load: a new version is served well
within 0.2 seconds, and looking costs some microseconds."""

PIECE = 0.01
"""Seconds that one look spends on new records, while clients wait: thousands of usual ones."""

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


class Follower:
    """Keeps a replica at the newest version of the files of another database.

    ``clock`` gives seconds of a monotonic clock, ``sleep`` waits for so many, ``durable`` tells up
    to which record may be shown.
    """

    def __init__(
        self,
        replica: Replica,
        filename: str,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        durable: Durable = published,
    ) -> None:
        self._replica = replica
        self._filename = database_path(filename)
        self._disk = disk or Disk()
        self._clock = clock
        self._sleep = sleep
        self._durable = durable
        self._snapshot: Identity | None = None
        self._reader: JournalReader | None = None
        self._pending: deque[Record] = deque()
        self._due = 0.0
        self._unread_since: float | None = None
        self._reminded = 0.0
        replica.catch_up = self.look

    def start(self) -> None:
        """Return when there is a version to serve. Raises StorageError when there is none."""
        ends = self._clock() + START_PATIENCE
        told: str | None = None
        while True:
            try:
                if self._exists():
                    self._begin_anew()
                    return
                trouble = f"there is no database {self._filename}"
            except (OSError, CorruptFile) as error:
                trouble = str(error)
            if self._clock() > ends:
                raise StorageError(trouble)
            if trouble != told:
                told = trouble
                logger.warning("waiting for the server that writes %s: %s", self._filename, trouble)
            self._sleep(START_LOOK)

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
        except OSError as error:
            self._note_trouble(str(error))
            return False
        except (StorageError, MemoryError) as error:
            self._forget()  # how far it came is not known
            self._note_trouble(str(error) or "there is not enough memory")
            return False
        if self._unread_since is not None:
            logger.warning("%s can be read again", self._filename)
            self._unread_since = self._replica.stale = None
        return goes_on

    def close(self) -> None:
        """Let go of the files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
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
        # Before the journal is followed: the part that a newer snapshot begins is reached then.
        identity = self._disk.identity(self._filename)
        if self._reader is not None and self._follow(self._reader):
            return True
        if self._is_newest(identity):
            self._snapshot = identity or self._snapshot
        else:
            self._begin_anew()
        return False

    def _follow(self, reader: JournalReader) -> bool:
        """Do some of the records that were added; True when more can be done at once."""
        ends = self._clock() + PIECE
        while True:
            while self._pending:
                self._replica.replay(*self._pending.popleft())
                if self._clock() >= ends:
                    return True
            found = reader.read()
            if not isinstance(found, list):
                self._forget()
                return False
            if not found:
                return False
            self._pending.extend(found)

    def _is_newest(self, identity: Identity | None) -> bool:
        """True when nothing has to be read but what the reader will find; ``identity`` is that of
        the snapshot."""
        is_known = identity in (None, self._snapshot)
        if self._reader is None:
            return is_known and not self._has_journal()
        start = self._reader.start
        return is_known or (start is not None and start == self._end_of_snapshot())

    def _end_of_snapshot(self) -> tuple[int, int] | None:
        """The last record of the snapshot and its checksum; None for a pickle without header."""
        with closing(self._disk.reader(self._filename)) as file:
            head = read_head(file, self._filename)
        return None if head is None else (head.sequence, head.chain)

    def _exists(self) -> bool:
        return self._disk.exists(self._filename) or self._has_journal()

    def _has_journal(self) -> bool:
        return bool(part_names(self._disk, self._filename))

    def _forget(self) -> None:
        """Have the next look read everything anew."""
        self.close()
        self._snapshot = None

    def _begin_anew(self) -> None:
        """Read the snapshot and the journal after it."""
        identity = self._disk.identity(self._filename)
        durable = self._durable(self._disk, self._filename)
        contents = read_contents(self._disk, self._filename)
        replica = self._replica
        start = contents.snapshot.sequence if contents.snapshot else 0
        newest = (
            contents.sequence if durable is None else max(start, min(contents.sequence, durable))
        )
        if newest < replica.sequence:
            logger.error(
                "an older copy of %s was put in its place: what is served goes back from record "
                "%d to %d",
                self._filename,
                replica.sequence,
                newest,
            )
        self._forget()
        replica.load(contents.state, start)
        for sequence, body in contents.records():
            if sequence <= newest:
                replica.replay(sequence, body)
        logger.info("follows %s from record %d on", self._filename, replica.sequence)
        if contents.parts:
            self._reader = JournalReader(
                self._disk, self._filename, newest, contents.chain_after(newest), self._durable
            )
            with suppress(FileNotFoundError):  # a save has removed it meanwhile
                self._reader.begin_in(contents.parts[-1])
        self._snapshot = identity

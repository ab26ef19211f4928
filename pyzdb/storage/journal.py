"""The journal as it is written: every change of the database, in order.

Rules this module keeps (the bytes are described in `parts`):

- Appended records are held back until `flush`, which is one write and, when every write is to
  be synced, one sync.
- Room is made before a change is applied (`reserve`), so an append does not fail for want of
  room afterwards. When there is none, the file goes back to its length and nothing changed.
- After a write or sync that failed nothing is known of the disk, so everything is refused.
- A sync vouches for what was written before it began, and for nothing else.
- A new part is written aside, synced and renamed, so a part always has its whole header.
- The part that is written is locked, from before it has its name. Before each write its end is
  compared with what was written last: a backup that was copied over it is not written into.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Literal

from pyzdb.errors import FilesReplaced, StorageError, StorageFull, SyncFailed
from pyzdb.storage.disk import NO_ROOM, Disk, identity_of, replaced
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import HEADER_SIZE, MAX_BODY, Part, part_header, record_head

Fsync = Literal["always", "everysec", "never"]

PREALLOCATION = 256 * 1024
"""Bytes by which a part grows: a few hundred records of a usual size, so that growing, which
costs a sync of its own, is rare, and so little that nobody misses it."""

SPARE = 128 * 1024
"""Bytes of that room which only what makes room may take: some hundred commands that remove
something, so that a full disk can be emptied."""

SYNC_INTERVAL = 0.25
"""Seconds that a write waits for its sync with ``everysec``; as `tick` comes every half second
at the latest, less than one second is ever at stake."""

LARGE = 1 << 20
"""Bytes written between two syncs from which on their memory is given back, since hardly anyone
reads a journal: the next ones go into the same memory, and to take new memory from a virtual
machine costs several times the write itself."""

SALT_SIZE = 8


class Journal:
    """The writing end of a journal. ``size`` is what its records take since the last snapshot
    (bytes), ``chain`` the checksum that the next part continues.

    ``clock`` gives seconds of a monotonic clock, ``sync_interval`` is how many of them a write may
    wait for its sync with ``everysec``.
    """

    def __init__(
        self,
        filename: str,
        fsync: Fsync,
        disk: Disk,
        clock: Callable[[], float] = monotonic,
        sync_interval: float = SYNC_INTERVAL,
    ) -> None:
        self.sequence = 0
        self.size = 0
        self._layout = Layout(filename)
        self._fsync = fsync
        self._disk = disk
        self._clock = clock
        self._sync_interval = sync_interval
        self._fd = -1
        self._buffer: list[bytes] = []
        self._flushed = 0
        self._synced = 0
        self._unsynced_since: float | None = None
        self._failure: str | None = None

    @property
    def chain(self) -> int:
        return self._chain

    @property
    def has_failed(self) -> bool:
        """True when nothing is written any more."""
        return self._failure is not None

    @property
    def is_empty(self) -> bool:
        """True when the newest part holds no record yet."""
        return self.sequence < self._first

    def create(self, first: int, previous: int) -> None:
        """Begin the part whose first record will be ``first``.

        Raises StorageFull or StorageError, and nothing has changed; SyncFailed when it is not
        known whether the new part is there.
        """
        disk, aside = self._disk, self._layout.part_aside
        header, seed = part_header(first, previous, os.urandom(SALT_SIZE))
        fd = -1
        try:
            fd = disk.create(aside)
            disk.lock(fd)  # nobody else could have it yet
            disk.write(fd, header, 0)
            disk.sync(fd)
        except OSError as error:
            if fd >= 0:
                disk.close(fd)
            kind = StorageFull if error.errno in NO_ROOM else StorageError
            raise kind(f"{aside} cannot be written: {error.strerror}") from error
        path = self._layout.part(first)
        try:
            disk.rename(aside, path)
            disk.sync_folder(os.path.dirname(path))
        except OSError as error:
            disk.close(fd)
            raise self._fail(path, error) from error
        self._fd, self._path, self._first = fd, path, first
        self._identity = identity_of(disk.status(fd))[:2]
        self._seed, self._chain = seed, previous
        self._end, self._allocated_end = HEADER_SIZE, HEADER_SIZE
        self._cached, self._tail = self._end, header
        self.sequence = self._flushed = self._synced = first - 1

    def resume(self, part: Part, fd: int, size: int) -> None:
        """Go on in a part that was read; what is in it is on the disk when this returns.

        ``fd`` is the part opened for writing and locked, ``size`` what the records since the last
        snapshot take, in bytes.
        """
        disk = self._disk
        tail = part.data[part.end - HEADER_SIZE : part.end]
        try:
            if disk.read(fd, HEADER_SIZE, part.end - HEADER_SIZE) != tail:
                raise replaced(part.filename, disk.identity(part.filename))
            if part.torn:
                disk.truncate(fd, part.end)
            # A system whose sync failed may count as written what never reached the disk.
            start = part.end_of(part.synced)
            disk.write(fd, part.data[start : part.end], start)
            disk.sync(fd)
            status = disk.status(fd)
        except FilesReplaced:
            disk.close(fd)
            raise
        except OSError as error:
            disk.close(fd)
            raise SyncFailed(f"{part.filename} cannot be synced: {error.strerror}") from error
        self._fd, self._path, self._first = fd, part.filename, part.first
        self._identity = identity_of(status)[:2]
        self._seed, self._chain = part.seed, part.chain
        self._end, self._allocated_end = part.end, status.st_size
        self._cached, self._tail = self._end, tail
        self.sequence = self._flushed = self._synced = part.sequence
        self.size = size

    def reserve(self, size: int, spare: bool = False) -> None:
        """Make room for one more record with a body of ``size`` bytes; with ``spare`` it may be
        what is kept for commands that make room.

        Raises StorageFull, and nothing has changed.
        """
        self._check()
        if size > MAX_BODY:
            raise StorageFull(f"a change of {size} bytes is more than one record can hold")
        missing = self._end + HEADER_SIZE + size - self._allocated_end
        if not spare:
            missing += SPARE
        if missing <= 0:
            return
        try:
            self._grow(max(missing, PREALLOCATION))
        except StorageFull:
            if not spare or missing >= PREALLOCATION:
                raise
            self._grow(missing)

    def _grow(self, size: int) -> None:
        with self._all_or_nothing():
            try:
                self._disk.allocate(self._fd, self._allocated_end, size)
            except OSError as error:
                self._run(self._disk.truncate, self._fd, self._allocated_end)
                if error.errno in NO_ROOM:
                    raise StorageFull(
                        f"no room for {self._path}: {error.strerror}; some is kept for what "
                        "removes (del, pop, clear, undo), and a save gives back what the history "
                        "has forgotten"
                    ) from error
                raise self._fail(self._path, error) from error
            if self._fsync == "always":
                self._run(self._disk.datasync, self._fd)
            self._allocated_end += size

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Refuse everything from here on when something else comes out of the block than its end
        or one of our errors: a want of memory, for one, after which the journal may be half in
        one state and half in another."""
        before, interrupted = self._failure, f"a change of {self._path} was interrupted"
        self._failure = interrupted
        try:
            yield
        except StorageError:
            if self._failure is interrupted:  # nothing has changed
                self._failure = before
            raise
        self._failure = before

    def append(self, body: bytes) -> int:
        """Add a record, for which there is room, to what `flush` will write, and return its
        sequence. When this raises and `sequence` is another one, the record may be half there."""
        self._check()
        sequence = self.sequence + 1
        head, chain = record_head(body, sequence, self._synced, self._chain, self._seed)
        self.sequence = sequence
        self._buffer += (head, body)
        self._chain = chain
        self._end += HEADER_SIZE + len(body)
        self.size += HEADER_SIZE + len(body)
        return sequence

    def fail(self, reason: str) -> None:
        """Write nothing any more: what was appended and not flushed is given up."""
        self._failure = self._failure or reason

    def flush(self) -> None:
        """Write what was appended, and sync it as the policy says. Raises SyncFailed."""
        self._check()
        if self._buffer:
            size = sum(map(len, self._buffer))
            # A large record is written as it lies in memory; small ones take one call together.
            pieces = self._buffer if size > LARGE else [b"".join(self._buffer)]
            offset = self._end - size
            try:
                if self._disk.read(self._fd, HEADER_SIZE, offset - HEADER_SIZE) != self._tail:
                    raise self._overwritten()
                for piece in pieces:
                    self._disk.write(self._fd, piece, offset)
                    offset += len(piece)
            except OSError as error:
                raise self._fail(self._path, error) from error
            self._allocated_end = max(self._allocated_end, self._end)
            last = pieces[-1] if len(pieces[-1]) >= HEADER_SIZE else b"".join(self._buffer[-2:])
            self._tail = last[-HEADER_SIZE:]
            self._buffer.clear()
            self._flushed = self.sequence
            if self._fsync == "everysec" and self._unsynced_since is None:
                self._unsynced_since = self._clock()
        if self._fsync == "always":
            self._sync()
        else:
            self.tick()

    def sync(self) -> None:
        """Return when all that was flushed is on the disk. Raises SyncFailed."""
        self._check()
        self._sync()

    def _sync(self) -> None:
        vouched, end = self._flushed, self._end
        if self._synced == vouched:
            return
        try:
            self._disk.datasync(self._fd)
        except OSError as error:
            raise self._fail(self._path, error) from error
        self._synced, self._unsynced_since = vouched, None
        if end - self._cached >= LARGE:
            self._disk.drop_cache(self._fd, self._cached, end - self._cached)
        self._cached = end

    def look(self) -> None:
        """Raises FilesReplaced when the part that is written is not what its name leads to, or
        others have cut or overwritten it."""
        now = self._disk.identity(self._path)
        if now is None or now[:2] != self._identity or now[2] != self._allocated_end:
            raise replaced(self._path, now)
        written = self._end - sum(map(len, self._buffer))
        if self._disk.read(self._fd, HEADER_SIZE, written - HEADER_SIZE) != self._tail:
            raise replaced(self._path, now)

    def tick(self) -> float | None:
        """With ``everysec``: sync what has waited long enough, or return the seconds that are
        left until then. Raises SyncFailed."""
        self._check()
        if self._fsync != "everysec" or self._unsynced_since is None:
            return None
        left = self._unsynced_since + self._sync_interval - self._clock()
        if left > 0:
            return left
        self.sync()
        return None

    def rotate(self) -> None:
        """Go on in a new part, all of it and of the old one on the disk.

        Raises StorageFull or StorageError when the new part cannot be made: the old one goes on.
        """
        self.flush()
        self.sync()
        if self.is_empty:
            return
        with self._all_or_nothing():
            old, end = self._fd, self._end
            try:
                self.create(self.sequence + 1, self._chain)
            except StorageFull:
                # Few bytes are missing, and the old part has more than that to give.
                self._give_back_room()
                self._create_after_all()
            self._run(self._disk.truncate, old, end)
            self._disk.close(old)
        with suppress(StorageFull):
            self._grow(SPARE)

    def _create_after_all(self) -> None:
        try:
            self.create(self.sequence + 1, self._chain)
        except StorageFull:
            with suppress(StorageFull):
                self._grow(SPARE)
            raise

    def _give_back_room(self) -> None:
        self._run(self._disk.truncate, self._fd, self._end)
        self._allocated_end = self._end

    def close(self) -> None:
        """Flush and sync, and give back the room; after a failure, only let go of the file."""
        try:
            if self._fd >= 0 and self._failure is None:
                self.flush()
                self._give_back_room()
                self._run(self._disk.sync, self._fd)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file as it is."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
            self._failure = self._failure or f"{self._path} is closed"

    def _overwritten(self) -> FilesReplaced:
        error = replaced(self._path, self._disk.identity(self._path))
        self.fail(str(error))
        return error

    def explain(self, reason: str) -> None:
        """Give the reason of a failure in more words."""
        self._failure = reason

    def _check(self) -> None:
        if self._failure is not None:
            raise SyncFailed(self._failure)

    def _run(self, step: Callable[..., None], *arguments: Any) -> None:
        # `flush` and `sync` do without it: done for every write, it costs more than it looks.
        try:
            step(*arguments)
        except OSError as error:
            raise self._fail(self._path, error) from error

    def _fail(self, path: str, error: OSError) -> SyncFailed:
        self._failure = f"{path} cannot be written: {error.strerror}"
        return SyncFailed(self._failure)

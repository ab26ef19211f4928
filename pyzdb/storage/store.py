"""Where a database keeps what it must not lose: in files, or in memory with the same interface.

Rules this module keeps:

- A store is opened once at a time, and opening a file holds it against other processes.
- Nothing is changed before `begin`: what cannot start leaves everything as it was.
- A store works in the folder that it opened, wherever that is moved. Nothing is acknowledged, and
  nothing written over, once a file of the database is not the one that this process put there.
- A save is: go on in a new part of the journal, write the state aside, sync it, rename it, sync
  the folder, and last remove the parts that it replaces. Whatever is interrupted leaves one
  snapshot and all the records after it; what is left over is removed by the next start.
- The state is written by a child process where there can be one, but only its parent gives the
  file its name: a child whose parent is gone can harm nobody.
- A save that fails changes nothing that is read at a start, and the next one is free to work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import NamedTuple, Protocol

from pyzdb.errors import FilesReplaced, ReadOnlyError, SnapshotFailed, StorageError, SyncFailed
from pyzdb.storage.contents import Contents, keep_original, quarantine, read_contents
from pyzdb.storage.disk import Disk, database_path, free_name, refuse_mount, remove, replaced
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.file_lock import FileLock
from pyzdb.storage.journal import Fsync, Journal
from pyzdb.storage.layout import Layout
from pyzdb.storage.parts import Record, part_names
from pyzdb.storage.published import Published
from pyzdb.storage.saver import Save, Saver, default_saver
from pyzdb.storage.snapshot import State, dump_state, load_state, write_snapshot
from pyzdb.storage.watch import Watch

SETTLED = 100_000_000
"""Nanoseconds after which a further change in a folder surely gets a later time: file systems take
theirs from a clock that ticks every 1 to 10 milliseconds."""


class Recovered(NamedTuple):
    """What was found: ``state`` of the snapshot (None for a new database), the ``sequence`` of
    the last record that is in it, the ``records`` after it, and ``notes``, a line each for the
    operator."""

    state: State | None
    sequence: int
    records: Iterator[Record]
    notes: list[str]


class Store(Protocol):
    """What the engine needs of a store. Sizes are in bytes."""

    @property
    def sequence(self) -> int:
        """Sequence of the last record that was appended."""

    @property
    def journal_size(self) -> int:
        """Bytes of the records since the last snapshot."""

    @property
    def snapshot_size(self) -> int:
        """Bytes of the last snapshot; 0 when there is none."""

    @property
    def snapshot_is_missing(self) -> bool:
        """True when the last snapshot is not there any more."""

    @property
    def save_fd(self) -> int | None:
        """A descriptor that becomes readable when the running save has ended; None without one."""

    def take(self) -> Recovered:
        """Take hold of the database and read it. Raises CorruptFile, FileInUse, StorageError."""

    def begin(self) -> list[str]:
        """Make what was taken ready to be written, and return more notes. Raises StorageError."""

    def reserve(self, size: int, spare: bool = False) -> None:
        """Make room for a record with a body of ``size`` bytes, with ``spare`` also from what is
        kept for commands that make room. Raises StorageFull."""

    def append(self, body: bytes) -> int:
        """Add a record to what `flush` writes, and return its sequence."""

    def fail(self, reason: str) -> None:
        """Take nothing more, and give up what was appended and not flushed."""

    def flush(self) -> None:
        """Make what was appended durable, as the policy says. Raises SyncFailed."""

    def tick(self) -> float | None:
        """Sync what is due; return the seconds until the next sync is due. Raises SyncFailed."""

    def save(self, state: Callable[[], State]) -> None:
        """Return when a snapshot of the state is durable; a running save is ended for it.

        Raises SnapshotFailed; the snapshot before it and the journal are whole.
        """

    def start_save(self, state: Callable[[], State]) -> None:
        """Begin to save the state as it is now, in the background. Raises SnapshotFailed."""

    def cancel_save(self) -> None:
        """Have the running save end without a result; `finish_save` comes next."""

    def save_is_over(self, now: float) -> bool:
        """True when the running save is to be finished though its descriptor does not say so; to
        be asked from time to time. ``now``: seconds of a monotonic clock."""

    def finish_save(self) -> str | None:
        """Wait for the running save to end; None when it is durable, otherwise why it is not."""

    def close(self) -> None:
        """End a running save and the journal, and let others have the database."""


class PendingSnapshot(NamedTuple):
    """A save that runs: the ``fd`` of its file, what the snapshot will hold, and the size that
    the journal had when it began."""

    fd: int
    sequence: int
    chain: int
    journal_size: int


class FileStore:
    """A store in files: ``filename`` is the snapshot, the rest lies beside it."""

    def __init__(
        self,
        filename: str | os.PathLike[str],
        fsync: Fsync = "always",
        disk: Disk | None = None,
        saver: Saver | None = None,
    ) -> None:
        self._filename = database_path(filename)
        self._layout = Layout(self._filename)
        self._disk = disk or Disk()
        self._files = FileFolder(self._disk, self._filename)
        self._fsync = fsync
        self._journal = Journal(self._filename, fsync, self._disk)
        self._holder: FileLock | None = None
        self._found: Contents | None = None
        self._watch = Watch(self._disk, self._filename)
        self._published = Published(self._disk, self._filename)
        self._quiet_since: int | None = None
        self._saver = saver or default_saver()
        self._running: tuple[Save, PendingSnapshot] | None = None
        self.snapshot_size = 0

    @property
    def sequence(self) -> int:
        return self._journal.sequence

    @property
    def journal_size(self) -> int:
        return self._journal.size

    @property
    def snapshot_is_missing(self) -> bool:
        return self._watch.is_missing

    @property
    def save_fd(self) -> int | None:
        return None if self._running is None else self._running[0].fd

    def open(self) -> Recovered:
        """`take` and `begin`."""
        opened = self.take()
        opened.notes.extend(self.begin())
        return opened

    def take(self) -> Recovered:
        self._journal = Journal(self._filename, self._fsync, self._disk)
        refuse_mount(self._filename)
        try:
            self._disk.work_in(os.path.dirname(self._filename))
            self._holder = FileLock(self._disk, self._filename)
            self._watch.begin()
            contents = self._found = read_contents(self._disk, self._filename)
        except OSError as error:
            self._release()
            raise StorageError(f"{self._filename} cannot be opened: {error}") from error
        except BaseException:
            self._release()
            raise
        snapshot = contents.snapshot
        start = 0 if snapshot is None else snapshot.sequence
        return Recovered(contents.state, start, contents.records(), [])

    def begin(self) -> list[str]:
        assert self._found is not None, "`take` comes first"
        assert self._holder is not None
        contents, self._found = self._found, None
        try:
            self._holder.look()
            self._watch.look_at_snapshot()
            notes = self._put_in_order(contents)
            self._begin(self._holder, contents)
        except (FilesReplaced, OSError) as error:  # nothing was acknowledged yet
            self._release()
            raise StorageError(f"{self._filename} cannot be opened: {error}") from error
        except BaseException:
            self._release()
            raise
        return notes

    def _begin(self, holder: FileLock, contents: Contents) -> None:
        if contents.parts:
            part = contents.parts[-1]
            fd = holder.take_part(part.filename)
            self._journal.resume(part, fd, contents.journal_size)
        else:
            self._journal.create(contents.sequence + 1, contents.chain)
        snapshot = contents.snapshot
        if snapshot is not None:
            self.snapshot_size = snapshot.size
            if snapshot.plain and not contents.sequence:  # from here on its bytes are checked
                self.save(lambda: snapshot.state)
        self._published.tell(self._journal.sequence)

    def _put_in_order(self, contents: Contents) -> list[str]:
        notes = []
        torn = contents.torn_part
        if torn is not None:
            aside = quarantine(self._disk, torn.filename, torn.torn)
            notes.append(
                f"{torn.filename} ended in an unfinished write: {len(torn.torn)} bytes from offset "
                f"{torn.end} on were cut and are kept in {aside}"
            )
        snapshot = contents.snapshot
        if snapshot is not None and snapshot.plain:
            notes.append(
                f"{self._filename} is the pickle of another program; it is kept as "
                f"{keep_original(self._disk, self._filename)}, and what it holds is served"
            )
        if contents.sequence and not contents.parts:
            notes.append(f"there is no journal beside {self._filename}: it is as it was saved")
        # The name of the snapshot must be on the disk before the parts that it replaces go.
        self._disk.sync_folder(os.path.dirname(self._filename))
        for path in (*contents.stale, self._layout.snapshot_aside, self._layout.part_aside):
            remove(self._disk, path)
        return notes

    def reserve(self, size: int, spare: bool = False) -> None:
        self._journal.reserve(size, spare)

    def append(self, body: bytes) -> int:
        return self._journal.append(body)

    def fail(self, reason: str) -> None:
        self._journal.fail(reason)

    def flush(self) -> None:
        self._journal.flush()
        # One call for all names, and none for the journal: once the time of a file was asked for,
        # the next write has to note a new one, which costs a third of a durable write.
        if self._disk.names_changed() != self._quiet_since:
            self._look_around()
        self._published.tell(self._journal.sequence)

    def tick(self) -> float | None:
        self._look_around()
        return self._journal.tick()

    # --- what lies there -------------------------------------------------------------------

    def _look_around(self) -> None:
        """Raises SyncFailed when a file of the database is not the one of this process."""
        changed = self._disk.names_changed()
        self._watch.look_at_folder()
        self._look(self._journal.look)
        self._look(self._watch.look_at_snapshot)
        if self._holder is not None:
            self._look(self._holder.look)
        self._quiet_since = changed if time.time_ns() - changed > SETTLED else None

    def _look(self, look: Callable[[], None]) -> None:
        try:
            look()
        except FilesReplaced as error:
            self._journal.fail(str(error))
            raise
        except OSError as error:
            text = f"the files of {self._filename} cannot be looked at: {error.strerror}"
            self._journal.fail(text)
            raise SyncFailed(text) from error

    def rescue(self, error: FilesReplaced, state: Callable[[], State]) -> FilesReplaced:
        """Keep the state in a file of its own unless all of it is in the files that are there;
        return the error, which says so, as everything does that is tried from here on."""
        try:
            self._journal.look()
            self._watch.look_at_snapshot()
            if self._watch.is_missing:
                raise replaced(self._filename, None)
            text = f"{error}; all that was acknowledged is in the other files of the database"
        except (FilesReplaced, OSError):
            text = f"{error}; {self._keep(state)}"
        self._journal.explain(text)
        return FilesReplaced(text)

    def _keep(self, state: Callable[[], State]) -> str:
        """Write a snapshot that takes nothing's place, and say how to use it."""
        filename, journal = self._filename, self._journal
        path = free_name(self._disk, self._layout.rescued)
        try:
            fd = self._disk.create(path, exclusive=True)
            try:
                write_snapshot(
                    self._disk, fd, state(), journal.sequence, journal.chain, self._files
                )
            finally:
                self._disk.close(fd)
            self._disk.sync_folder(os.path.dirname(path))
        except Exception as error:  # pickling raises whatever a value of a user's own type does
            return f"what it held could not be kept in {path}: {error}"
        return (
            f"what it held is kept in {path}: to go on with that, put it in the place of "
            f"{filename}, with no {self._layout.all_parts} beside it"
        )

    # --- saves -----------------------------------------------------------------------------

    def save(self, state: Callable[[], State]) -> None:
        self._end_save()
        save = self._begin_save()
        reason = None
        try:
            self._write(save, state)
        except Exception as error:  # pickling raises whatever a value of a user's own type does
            reason = f"{type(error).__name__}: {error}"
        reason = self._end_snapshot(save, reason)
        if reason is not None:
            raise SnapshotFailed(self._not_saved(reason))

    def _write(self, save: PendingSnapshot, state: Callable[[], State]) -> None:
        write_snapshot(self._disk, save.fd, state(), save.sequence, save.chain, self._files)

    def start_save(self, state: Callable[[], State]) -> None:
        if self._running is not None:
            raise SnapshotFailed(f"{self._filename} is being saved already")
        save = self._begin_save()
        try:
            saving = self._saver(lambda: self._write(save, state), save.fd)
        except OSError as error:
            reason = self._end_snapshot(save, f"no process for it: {error.strerror}")
            raise SnapshotFailed(self._not_saved(reason)) from error
        self._running = (saving, save)

    def cancel_save(self) -> None:
        if self._running is not None:
            self._running[0].kill("another save takes its place")

    def save_is_over(self, now: float) -> bool:
        return self._running is not None and self._running[0].is_over(now)

    def finish_save(self) -> str | None:
        if self._running is None:
            return "no save is running"
        (saving, save), self._running = self._running, None
        reason = self._end_snapshot(save, saving.result())
        return None if reason is None else self._not_saved(reason)

    def _not_saved(self, reason: object) -> str:
        return f"{self._filename} was not saved: {reason}"

    def _begin_save(self) -> PendingSnapshot:
        """Go on in a new part, and create the file: one that no child before has open."""
        aside = self._layout.snapshot_aside
        journal = self._journal
        self._look_around()
        try:
            journal.rotate()
            self._published.tell(journal.sequence)
            remove(self._disk, aside)
            fd = self._disk.create(aside, exclusive=True)
        except SyncFailed:
            raise
        except (StorageError, OSError) as error:
            raise SnapshotFailed(self._not_saved(error)) from error
        return PendingSnapshot(fd, journal.sequence, journal.chain, journal.size)

    def _end_snapshot(self, save: PendingSnapshot, reason: str | None) -> str | None:
        """Put a snapshot that was written in its place, or drop it for ``reason``."""
        disk, aside = self._disk, self._layout.snapshot_aside
        known = self._watch.known(save.fd)
        size = disk.size(save.fd)
        disk.close(save.fd)
        if reason is None:
            self._look_around()
        try:
            if reason is not None:
                remove(disk, aside)
                return reason
            disk.rename(aside, self._filename)
            self._watch.saved(known)
            disk.sync_folder(os.path.dirname(self._filename))
        except OSError as error:
            return reason or str(error)
        self.snapshot_size = size
        self._journal.size -= save.journal_size
        try:
            for first, path in part_names(disk, self._filename):
                if first <= save.sequence:
                    remove(disk, path)
        except OSError:
            pass  # they are not read any more, and the next save or start tries again
        return None

    def _end_save(self) -> None:
        if self._running is not None:
            self.cancel_save()
            self.finish_save()

    def close(self) -> None:
        try:
            self._end_save()
            self._journal.close()
            if self._published.began and not self._journal.has_failed:
                self._published.tell(self._journal.sequence)
        finally:
            self._release()

    def _release(self) -> None:
        self._journal.abandon()  # after a failure it is open still
        self._published.close()
        if self._holder is not None:
            self._holder.release()
            self._holder = None
        self._disk.leave()


class MemoryStore:
    """A store in memory: what was flushed is there when it is opened again."""

    snapshot_is_missing = False

    def __init__(self) -> None:
        self._flushed: list[bytes] = []
        self._buffer: list[bytes] = []
        self._saved: bytes | None = None
        self._start = 0
        self.journal_size = 0
        self.save_fd: int | None = None

    @property
    def sequence(self) -> int:
        return self._start + len(self._flushed) + len(self._buffer)

    @property
    def snapshot_size(self) -> int:
        return 0 if self._saved is None else len(self._saved)

    def open(self) -> Recovered:
        """`take` and `begin`."""
        return self.take()

    def take(self) -> Recovered:
        self._buffer.clear()
        self.journal_size = sum(map(len, self._flushed))
        state = None if self._saved is None else load_state(BytesIO(self._saved))
        records = iter(list(enumerate(self._flushed, self._start + 1)))
        return Recovered(state, self._start, records, [])

    def begin(self) -> list[str]:
        return []

    def reserve(self, size: int, spare: bool = False) -> None:
        pass

    def append(self, body: bytes) -> int:
        self._buffer.append(body)
        self.journal_size += len(body)
        return self.sequence

    def fail(self, reason: str) -> None:
        self._buffer.clear()

    def flush(self) -> None:
        self._flushed += self._buffer
        self._buffer.clear()

    def tick(self) -> float | None:
        return None

    def save(self, state: Callable[[], State]) -> None:
        self.flush()
        file = BytesIO()
        try:
            dump_state(state(), file)
        except Exception as error:  # as in a file
            raise SnapshotFailed(f"the tree was not saved: {error}") from error
        self._start = self.sequence
        self._flushed.clear()
        self.journal_size = 0
        self._saved = file.getvalue()

    def start_save(self, state: Callable[[], State]) -> None:
        self.save(state)
        self.save_fd, other = os.pipe()
        os.close(other)

    def cancel_save(self) -> None:
        pass

    def save_is_over(self, now: float) -> bool:
        return False

    def finish_save(self) -> str | None:
        if self.save_fd is None:
            return "no save is running"
        os.close(self.save_fd)
        self.save_fd = None
        return None

    def close(self) -> None:
        self.flush()
        if self.save_fd is not None:
            self.finish_save()


class ReadOnlyStore:
    """For a database that another process writes: it takes nothing."""

    sequence = journal_size = snapshot_size = 0
    snapshot_is_missing = False
    save_fd: int | None = None

    def take(self) -> Recovered:
        return Recovered(None, 0, iter(()), [])

    def begin(self) -> list[str]:
        return []

    def reserve(self, size: int, spare: bool = False) -> None:
        raise ReadOnlyError("this server only reads: write to the one that keeps the database")

    def append(self, body: bytes) -> int:
        raise ReadOnlyError("this server only reads")

    def fail(self, reason: str) -> None:
        pass

    def flush(self) -> None:
        pass

    def tick(self) -> float | None:
        return None

    def save(self, state: Callable[[], State]) -> None:
        self.reserve(0)

    def start_save(self, state: Callable[[], State]) -> None:
        self.reserve(0)

    def cancel_save(self) -> None:
        pass

    def save_is_over(self, now: float) -> bool:
        return False

    def finish_save(self) -> str | None:
        return None

    def close(self) -> None:
        pass

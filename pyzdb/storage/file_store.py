"""A store in files.

Rules this module keeps:

- A store is opened once at a time, and opening a file holds it against other processes.
- Nothing is changed before `begin`: what cannot start leaves everything as it was.
- A store works in the folder that it opened, wherever that is moved. Nothing is acknowledged, and
  nothing written over, once a file of the database is not the one that this process put there.
- The state is written by a child process where there can be one, but only its parent gives the
  file its name: a child whose parent is gone can harm nobody.
- A save that fails changes nothing that is read at a start, and the next one is free to work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from pyzdb.errors import FilesReplaced, SnapshotFailed, StorageError, SyncFailed
from pyzdb.storage.aside import put_in_order, rescue
from pyzdb.storage.contents import Contents, read_contents
from pyzdb.storage.disk import Disk, database_path, refuse_mount, replaced
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.file_lock import FileLock
from pyzdb.storage.journal import SYNC_INTERVAL, Fsync, Journal
from pyzdb.storage.pending import PendingSnapshot
from pyzdb.storage.published import Published
from pyzdb.storage.saver import Save, Saver, default_saver
from pyzdb.storage.snapshot import State
from pyzdb.storage.store import Recovered
from pyzdb.storage.watch import Watch

SETTLED = 100_000_000
"""Nanoseconds after which a further change in a folder surely gets a later time: file systems take
theirs from a clock that ticks every 1 to 10 milliseconds."""


class FileStore:
    """A store in files: ``filename`` is the snapshot, the rest lies beside it.

    ``saver`` (default: what suits the system) writes snapshots beside the service; ``clock`` and
    ``sync_interval`` are those of the journal, ``notice`` is what the lock file tells
    read-only servers.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        fsync: Fsync = "always",
        disk: Disk | None = None,
        saver: Saver | None = None,
        clock: Callable[[], float] = time.monotonic,
        sync_interval: float = SYNC_INTERVAL,
        notice: str = "",
    ) -> None:
        self._filename = database_path(filename)
        self._disk = disk or Disk()
        self._files = FileFolder(self._disk, self._filename)
        self._new_journal = partial(
            Journal, self._filename, fsync, self._disk, clock, sync_interval
        )
        self._journal = self._new_journal()
        self._notice = notice
        self._lock: FileLock | None = None
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
        self._journal = self._new_journal()
        refuse_mount(self._filename)
        try:
            self._disk.work_in(os.path.dirname(self._filename))
            self._lock = FileLock(self._disk, self._filename, notice=self._notice)
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
        assert self._lock is not None
        contents, self._found = self._found, None
        try:
            self._lock.look()
            self._watch.look_at_snapshot()
            notes = put_in_order(self._disk, self._filename, contents)
            self._begin(self._lock, contents)
        except (FilesReplaced, OSError) as error:  # nothing was acknowledged yet
            self._release()
            raise StorageError(f"{self._filename} cannot be opened: {error}") from error
        except BaseException:
            self._release()
            raise
        return notes

    def _begin(self, lock: FileLock, contents: Contents) -> None:
        if contents.parts:
            part = contents.parts[-1]
            fd = lock.take_part(part.filename)
            self._journal.resume(part, fd, contents.journal_size)
        else:
            self._journal.create(contents.sequence + 1, contents.chain)
        snapshot = contents.snapshot
        if snapshot is not None:
            self.snapshot_size = snapshot.size
            if snapshot.plain and not contents.sequence:  # from here on its bytes are checked
                self.save(lambda: snapshot.state)
        self._published.tell(self._journal.sequence)

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
        if self._lock is not None:
            self._look(self._lock.look)
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
            kept = rescue(
                self._disk,
                self._filename,
                self._files,
                state,
                self._journal.sequence,
                self._journal.chain,
            )
            text = f"{error}; {kept}"
        self._journal.explain(text)
        return FilesReplaced(text)

    # --- saves -----------------------------------------------------------------------------

    def save(self, state: Callable[[], State]) -> None:
        self._finish_running()
        save = self._begin_save()
        reason = None
        try:
            save.write(state)
        except Exception as error:  # pickling raises whatever a value of a user's own type does
            reason = f"{type(error).__name__}: {error}"
        reason = self._finish(save, reason)
        if reason is not None:
            raise SnapshotFailed(self._not_saved(reason))

    def start_save(self, state: Callable[[], State]) -> None:
        if self._running is not None:
            raise SnapshotFailed(f"{self._filename} is being saved already")
        save = self._begin_save()
        try:
            saving = self._saver(lambda: save.write(state), save.fd)
        except OSError as error:
            reason = self._finish(save, f"no process for it: {error.strerror}")
            raise SnapshotFailed(self._not_saved(reason)) from error
        self._running = (saving, save)

    def cancel_save(self) -> None:
        if self._running is not None:
            self._running[0].kill("another save takes its place")

    def poll_save(self, now: float) -> bool:
        return self._running is not None and self._running[0].is_over(now)

    def finish_save(self) -> str | None:
        if self._running is None:
            return "no save is running"
        (saving, save), self._running = self._running, None
        reason = self._finish(save, saving.result())
        return None if reason is None else self._not_saved(reason)

    def _not_saved(self, reason: object) -> str:
        return f"{self._filename} was not saved: {reason}"

    def _begin_save(self) -> PendingSnapshot:
        """Go on in a new part, and make the file for what was before."""
        self._look_around()
        try:
            self._journal.rotate()
            self._published.tell(self._journal.sequence)
            return PendingSnapshot(self._disk, self._filename, self._files, self._journal)
        except SyncFailed:
            raise
        except (StorageError, OSError) as error:
            raise SnapshotFailed(self._not_saved(error)) from error

    def _finish(self, save: PendingSnapshot, reason: str | None) -> str | None:
        """Put a snapshot that was written in its place, or drop it for ``reason``."""
        known, size = self._watch.known(save.fd), self._disk.size(save.fd)
        save.close()
        if reason is None:
            self._look_around()
        try:
            if reason is not None:
                save.drop()
                return reason
            save.take_place()
            self._watch.saved(known)
            save.sync_name()
        except OSError as error:
            return reason or str(error)
        self.snapshot_size = size
        self._journal.size -= save.journal_size
        self._look_around()  # the sync took its time: what lies there may be somebody else's by now
        save.remove_what_it_replaces()
        return None

    def _finish_running(self) -> None:
        if self._running is not None:
            self.cancel_save()
            self.finish_save()

    def close(self) -> None:
        try:
            self._finish_running()
            self._journal.close()
            if self._published.began and not self._journal.has_failed:
                self._published.tell(self._journal.sequence)
        finally:
            self._release()

    def _release(self) -> None:
        self._journal.abandon()  # after a failure it is open still
        self._published.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._disk.leave()

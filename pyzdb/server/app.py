"""A server from its start to its end: files, queues, sockets and signals.

Rules this module keeps:

- The files are held before an address is bound, so that a second server on them says so; nothing
  in them is changed before all addresses are.
- SIGTERM and SIGINT end the round in hand; then the tree is saved and everything is closed. A
  second one ends the process at once, whatever it waits for, as the system sees to it: what was
  acknowledged is in the journal.
- What the process inherits does not matter: masks and dispositions of signals, and the umask.
- Nothing listens beyond this machine unless the address that was given says so, and never a
  server that runs code of its clients.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import zmq

import pyzdb
from pyzdb.engine.open import database_at, replica_at
from pyzdb.errors import ExecRefused, FilesReplaced
from pyzdb.server.broker import LINGER, Broker, bound
from pyzdb.server.door import raise_limit
from pyzdb.server.follower import Follower
from pyzdb.server.loop import ServerLoop
from pyzdb.server.options import INSIDE, READ_SERVER_URI, Options
from pyzdb.storage.disk import Disk, database_path, refuse_mount
from pyzdb.storage.file_lock import notice_of
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.system import require as require_system
from pyzdb.transport.addresses import is_loopback
from pyzdb.transport.sockets import Context, Socket, check, connect, require

POOL = 16
"""REP sockets of a read-write server: the writes that one sync can acknowledge together. More
cost every round a look at each."""

DESCRIPTORS = 54
"""What the queues and sockets of a server take, 41, with some for a save and the first client: with
fewer no start is tried, since ZeroMQ ends a process in which it finds none."""

_ENDING = (signal.SIGTERM, signal.SIGINT)

_KEPT = "what was acknowledged is in the journal"

_UMASK = 0o077
"""Files and the sockets of ipc are their owner's alone."""

logger = logging.getLogger(__name__)


def serve(
    options: Options, disk: Disk | None = None, new_store: Callable[..., FileStore] = FileStore
) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status. ``disk`` (default: that of the
    machine) is where a read-write server keeps its files, in the store that ``new_store`` makes.

    Raises StorageError, AddressError and ExecRefused when it cannot start, also on a system that
    can keep no database, SyncFailed when the disk fails, SnapshotFailed when the last save did.
    """
    require_system()
    # What a server creates is the tree, which is no garbage: a collection would look at all of
    # it and stop everyone for as long. Nothing that serves a request makes cycles.
    gc.disable()
    raise_limit()
    os.umask(_UMASK)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDING, signal.SIGCHLD})
    with _stop_signal() as stop_fd:
        if options.read_only:
            _follow(options, stop_fd)
        else:
            _own(options, stop_fd, disk or Disk(), new_store)
    return 0


def _own(options: Options, stop_fd: int, disk: Disk, new_store: Callable[..., FileStore]) -> None:
    outside = [uri for uri in options.listening if not is_loopback(uri)]
    if options.exec and outside:
        raise ExecRefused(
            f"--exec lets clients run any code, so it goes with loopback addresses only, "
            f"not with {', '.join(outside)}"
        )
    for uri in outside:
        logger.warning("every machine that reaches %s can read and write", uri)
    path = database_path(options.filename)
    read_back = options.read_server_uri or READ_SERVER_URI
    database, store = database_at(
        path,
        fsync=options.fsync,
        files_from=options.files_from,
        notice=read_back,
        disk=disk,
        new_store=new_store,
        history_limit=options.history_limit,
        snapshot_bytes=options.snapshot_bytes,
        exec=options.exec,
        lock_uri=options.lock_uri,
    )
    notes = database.take()
    try:
        with _Sockets() as sockets:
            back = options.write_server_uri or INSIDE
            sockets.queue(options.write_client_uri, back)
            sockets.queue(options.read_client_uri, read_back)
            lock_socket = sockets.listening(options.lock_uri)
            pool = [sockets.connected(back) for _ in range(POOL)]
            for note in notes + database.begin():
                logger.warning("%s", note)
            gc.freeze()
            _say(f"serves {path} at {options.write_client_uri} (Ctrl-C ends it)")
            ServerLoop(database, pool, lock_socket).run(stop_fd, database.tick)
            logger.info("saving %s", path)
            _say(f"saves {path}; a second signal ends it unsaved, and {_KEPT}")
            database.save()
            _say(f"saved {path}, and ends")
    except FilesReplaced as error:
        raise store.rescue(error, database.state) from error
    finally:
        database.close()


def _follow(options: Options, stop_fd: int) -> None:
    path, uri = database_path(options.filename), options.read_server_uri
    refuse_mount(path)
    if uri:
        check(uri)
    replica = replica_at(path)
    follower = Follower(replica, options.filename)
    try:
        follower.start()
        gc.freeze()
        with _Sockets() as sockets:
            # By now the server that writes has said where it waits, if it has been started.
            uri = uri or notice_of(Disk(), path) or READ_SERVER_URI
            socket = sockets.connected(uri)
            _say(f"reads {options.filename} for {uri} (Ctrl-C ends it)")
            ServerLoop(replica, [socket]).run(stop_fd, follower.tick)
    finally:
        follower.close()


def _say(what: str) -> None:
    try:
        print(f"pyzdb {pyzdb.__version__} {what}", flush=True)
    except OSError as error:
        logger.warning("serving all the same, though the standard output fails: %s", error)
        sys.stdout = io.StringIO()  # or Python would try again at its end


class _Sockets:
    """The queues and REP sockets of a server, which are all closed at its end. Raises NoSocket."""

    def __init__(self) -> None:
        require(DESCRIPTORS)
        self._context: Context = zmq.Context()
        self._sockets: list[Socket] = []
        self._queues: list[Broker] = []

    def queue(self, front: str, back: str) -> None:
        """Add a queue."""
        self._queues.append(Broker(self._context, front, back))

    def listening(self, uri: str) -> Socket:
        """A REP socket that clients connect to."""
        socket = bound(self._context, zmq.REP, uri)
        self._sockets.append(socket)
        return socket

    def connected(self, uri: str) -> Socket:
        """A REP socket behind a queue. Raises AddressError."""
        socket = self._context.socket(zmq.REP)
        self._sockets.append(socket)
        socket.linger = LINGER
        connect(socket, uri)
        return socket

    def __enter__(self) -> _Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()
        # The queues end with their context, and it ends when they have.
        self._context.term()
        for queue in self._queues:
            queue.join()


@contextlib.contextmanager
def _stop_signal() -> Iterator[int]:
    """A descriptor that is readable once SIGTERM or SIGINT has come."""

    def note(number: int, frame: FrameType | None) -> None:
        # No handler runs while a call waits for a disk that hangs; the system's own does.
        for each in _ENDING:
            signal.signal(each, signal.SIG_DFL)
        logger.info("%s: ending", signal.Signals(number).name)

    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        handlers = {number: signal.signal(number, note) for number in _ENDING}
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading.fileno()
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)

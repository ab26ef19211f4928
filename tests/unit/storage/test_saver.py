"""Work in a child process: what it has, what it does not have, and what its parent hears."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from pyzdb.storage.disk import Disk
from pyzdb.storage.file_lock import FileLock
from pyzdb.storage.saver import FAREWELL, PATIENCE, InlineSave, SaveProcess, default_saver
from tests.support.programs import forked

pytestmark = pytest.mark.needs("fork")

LIMIT = 30.0
"""Seconds that a test waits for a child."""


def fail(reason: str) -> None:
    raise ValueError(reason)


def test_a_child_that_did_its_work_has_no_reason(own: int) -> None:
    def work() -> None:
        os.pwrite(own, b"done", 0)

    saving = SaveProcess(work, own)
    assert select.select([saving.fd], [], [], LIMIT)[0]
    assert saving.result() is None
    assert os.pread(own, 10, 0) == b"done"


def test_a_child_that_fails_says_why(own: int) -> None:
    assert SaveProcess(lambda: fail("no room"), own).result() == "ValueError: no room"
    assert str(SaveProcess(lambda: fail("x" * 100_000), own).result()).startswith("ValueError: xxx")


def test_an_exit_of_the_work_is_a_failure(own: int) -> None:
    result = SaveProcess(lambda: os._exit(0x17), own).result()
    assert result == "the saving process ended with status 23"
    assert SaveProcess(lambda: exit(0), own).result() == "SystemExit: 0"


def test_a_killed_child_is_a_failure(own: int) -> None:
    saving = SaveProcess(signal.pause, own)
    saving.kill()
    assert select.select([saving.fd], [], [], LIMIT)[0]
    assert saving.result() == "the saving process ended with status -9"


def test_the_child_has_none_of_the_files_of_its_parent(own: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        saving = SaveProcess(signal.pause, own)
        theirs.close()
        ours.settimeout(LIMIT)
        assert ours.recv(1) == b""
        saving.kill()
        saving.result()


def test_the_child_does_not_hold_the_database_of_its_parent(tmp_path: Path, own: int) -> None:
    path = str(tmp_path / "db.pkl")

    def work() -> None:
        os.write(own, b"%d\n" % os.getpid())
        signal.pause()

    with forked(lambda: (FileLock(Disk(), path), SaveProcess(work, own))):
        until = time.monotonic() + LIMIT
        while not (told := os.pread(own, 20, 0)).endswith(b"\n") and time.monotonic() < until:
            pass
    FileLock(Disk(), path).release()
    os.kill(int(told), signal.SIGKILL)


def test_the_child_runs_no_handler_of_its_parent(own: int) -> None:
    def handler(*_: object) -> None:
        os.pwrite(own, b"handled", 0)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        result = SaveProcess(lambda: os.kill(os.getpid(), signal.SIGTERM), own).result()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result == "the saving process ended with status -15"
    assert os.pread(own, 10, 0) == b""


def test_the_child_is_not_stopped_by_an_interrupt_from_the_terminal(own: int) -> None:
    assert SaveProcess(lambda: os.kill(os.getpid(), signal.SIGINT), own).result() is None


def test_the_child_collects_no_garbage(own: int) -> None:
    def work() -> None:
        assert not gc.isenabled()

    assert SaveProcess(work, own).result() is None


def test_no_child_leaves_nothing_open(own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", fork)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(BlockingIOError):
        SaveProcess(lambda: None, own)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_child_whose_status_goes_nowhere_is_known_to_have_done_its_work(own: int) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert SaveProcess(lambda: None, own).result() is None
        assert SaveProcess(lambda: fail("no room"), own).result() == "ValueError: no room"
        assert SaveProcess(lambda: os._exit(0), own).result() == "it was killed"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_child_that_makes_no_progress_is_killed_and_said(own: int) -> None:
    saving = SaveProcess(signal.pause, own)
    assert not saving.is_over(0.0)
    os.pwrite(own, b"progress", 0)
    assert not saving.is_over(PATIENCE - 1)
    assert not saving.is_over(2 * PATIENCE - 2)
    assert not select.select([saving.fd], [], [], 0)[0]
    assert not saving.is_over(2 * PATIENCE - 1)
    assert select.select([saving.fd], [], [], LIMIT)[0]
    assert not saving.is_over(2 * PATIENCE)
    assert saving.is_over(2 * PATIENCE + FAREWELL)
    assert str(saving.result()).startswith("the saving process wrote nothing for 60 s")


def test_saves_run_in_a_child_where_there_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_saver() is SaveProcess
    monkeypatch.delattr(os, "fork")
    assert default_saver() is InlineSave

"""A server does its work whatever the process that started it left to it, and ends when told."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pyzdb.cli import FAILED
from pyzdb.errors import SnapshotFailed, StorageFull
from tests.support.programs import LIMIT, Server, environment, script, wait_until

SETTINGS = {
    "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "signals are blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "SIGINT is ignored": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "standard input is closed": "os.close(0)",
    "a umask takes everything": "os.umask(0o777)",
    "a umask takes nothing": "os.umask(0)",
}


def after(setting: str) -> list[str]:
    """What runs a program after some Python in its process."""
    source = f"import os, signal, sys, tempfile\n{setting}\nos.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", source]


def run_after(setting: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*after(setting), *command],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_it_serves_saves_and_ends(name: str, tmp_path: Path, connect: Callable[..., Any]) -> None:
    server = Server(tmp_path)
    server.before = after(SETTINGS[name])
    with server:
        use(server, connect)


def use(server: Server, connect: Callable[..., Any]) -> None:
    """Write, save, end and start again."""
    db = connect(server.write_uri)
    db["x"] = 1
    db.save()
    db["y"] = 2
    db.save()
    assert server.stop() == 0
    for path in server.folder.glob("db.pkl*"):
        assert path.stat().st_mode & 0o777 == 0o600, path
    server.start()
    assert db._run() == {"x": 1, "y": 2}


CLOSE_ALL = "for number in range(3): os.close(number)"


def test_all_standard_streams_may_be_closed(tmp_path: Path, connect: Callable[..., Any]) -> None:
    server = Server(tmp_path)
    command = [*script("server.py"), *server.arguments]
    process = subprocess.Popen([*after(CLOSE_ALL), *command], env=environment())
    try:
        db = connect(server.write_uri)
        db["x"] = 1
        db.save()
        assert db._run() == {"x": 1}
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()


def test_a_command_without_standard_streams_has_its_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyzdb", "check", str(tmp_path / "db.pkl")]
    assert run_after(CLOSE_ALL, command).returncode == 1


GONE = "folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)"


def test_a_folder_that_is_gone_is_told_in_a_line() -> None:
    done = run_after(GONE, script("server.py"))
    assert done.returncode == 1
    assert done.stderr.endswith(
        "pyzdb: db.pkl cannot be found: the current folder is gone; name the database by its full "
        "path\n"
    )


def test_a_file_cannot_grow_beyond_a_limit_and_goes_on_below(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    server = Server(tmp_path)
    server.before = after(limit)
    with server:
        db = connect(server.write_uri)
        with pytest.raises(StorageFull):
            db["x"] = "x" * (1 << 20)
        db["y"] = 1
        assert db._run() == {"y": 1}


@pytest.mark.parametrize("most", [12, 20, 30, 40, 48, 54, 57, 60, 61, 62, 63, 64, 65, 66])
def test_few_descriptors_are_told_in_a_line_or_are_enough(
    most: int, tmp_path: Path, connect: Callable[..., Any]
) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))"
    server = Server(tmp_path)
    command = [*after(limit), *script("server.py"), *server.arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline():
                db = connect(server.write_uri)
                db["x"] = 1
                db.save()
                process.terminate()
            _, said = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    if process.returncode:
        assert process.returncode == FAILED
        assert said.startswith("pyzdb: there is no room in this process for connections")
        assert said.count("\n") == 1


@pytest.mark.parametrize("free", range(4))
def test_a_server_goes_on_with_hardly_a_descriptor_left(
    free: int, server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = 1
    used = sorted(int(name) for name in os.listdir(f"/proc/{server.pid}/fd"))
    assert used == list(range(len(used)))
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (len(used) + free, before[1]))
    for number in range(2):
        with suppress(SnapshotFailed):
            db.save()
        db["y"] = number
        assert db._run() == {"x": 1, "y": number}
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
    db.save()
    assert server.stop() == 0


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(number) for number in file.read().split()]


@pytest.mark.needs("fork", "linux")
def test_a_saving_process_that_hangs_holds_up_no_end(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    db["x"] = [list(range(100)) for _ in range(20_000)]
    process = subprocess.Popen(
        [*script("client.py"), server.write_uri],
        stdin=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        assert process.stdin is not None
        process.stdin.write("db.save()\n")
        process.stdin.flush()
        (child,) = wait_until(lambda: children(server.pid))
        os.kill(child, signal.SIGSTOP)
        assert server.stop() == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    server.start()
    assert len(db["x"]) == 20_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_server_that_hangs(number: signal.Signals) -> None:
    source = (
        "import itertools, os, signal\nfrom pyzdb.server.app import _stop_signal\n"
        "with _stop_signal():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('goes on', flush=True)\n"
        "    sum(itertools.repeat(0))"  # one call without an end, in which no handler runs
    )
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "goes on\n"
            process.send_signal(number)
            assert process.wait(LIMIT) == -number
        finally:
            process.kill()


def test_a_server_that_ends_says_what_a_second_signal_does(server: Server) -> None:
    assert server.process is not None
    assert server.process.stdout is not None
    server.process.terminate()
    said = server.process.stdout.read()
    assert f"saves {server.filename}; a second signal ends it unsaved, and what was" in said
    assert said.endswith(f"saved {server.filename}, and ends\n")

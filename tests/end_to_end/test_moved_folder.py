"""Servers whose folder or files are moved, removed or replaced under them: nothing that was
acknowledged is lost, and nothing that somebody put there is written over."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyzdb.cli import DISK_FAILED, OK
from pyzdb.client import client
from pyzdb.errors import PyzdbError, ServerTimeout
from pyzdb.storage.contents import read_contents
from pyzdb.storage.disk import Disk
from pyzdb.storage.parts import part_names
from pyzdb.values import File
from tests.support.programs import LIMIT, Server, wait_until

Connect = Callable[..., Any]


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start servers in any folder."""
    started: list[Server] = []

    def start(folder: Path, *options: str) -> Server:
        started.append(Server(folder, *options).start())
        return started[-1]

    yield start
    for server in started:
        server.kill()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but those that say who holds it and the logs."""
    kept = (p for p in folder.iterdir() if p.is_file() and p.suffix not in (".lock", ".log"))
    return {path.name: path.read_bytes() for path in kept}


def ended(server: Server) -> int:
    """The exit status of a server that ends by itself."""
    assert server.process is not None
    return server.process.wait(LIMIT)


def write_until_refused(db: Any, first: int) -> int:
    """Set the keys first, first + 1... and return the first one that is not acknowledged."""
    number = first
    try:
        while True:
            db[number] = number
            number += 1
    except PyzdbError:
        return number


def tree(serve: Callable[..., Server], connect: Connect, folder: Path) -> Any:
    """What a new server in the folder serves."""
    server = serve(folder)
    db = connect(server.write_uri)
    found = db._run()
    server.stop()
    return found


@pytest.fixture
def data(tmp_path: Path, serve: Callable[..., Server]) -> Path:
    """A folder with a database, of which a backup lies beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    server = serve(folder)
    db, connection = client(server.write_uri)
    with connection:
        db["backup"] = 1
    server.stop()
    shutil.copytree(folder, folder.with_name("backup"))
    return folder


def put_backup_in_place(data: Path) -> Path:
    """Move the folder of a database away, as an operator does who wants the backup back; where it
    is now."""
    old = data.rename(data.with_name("data.old"))
    shutil.copytree(data.with_name("backup"), data)
    return old


def test_a_server_goes_on_in_its_folder_when_that_is_moved(
    data: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    server = serve(data)
    db = connect(server.write_uri)
    db["before"] = 1
    old = put_backup_in_place(data)
    untouched = content(data)
    db["after"] = 2
    db.save()
    db["at last"] = 3
    assert wait_until(lambda: "was moved" in (old / server.log.name).read_text())
    assert server.stop() == OK
    assert content(data) == untouched
    assert (old / server.log.name).read_text().count("was moved") == 1
    assert tree(serve, connect, old) == {"backup": 1, "before": 1, "after": 2, "at last": 3}


def test_two_servers_on_the_moved_and_on_the_new_folder_keep_to_their_own(
    data: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    first = serve(data)
    one = connect(first.write_uri)
    one["first"] = 1
    old = put_backup_in_place(data)
    second = serve(data)
    two = connect(second.write_uri)
    for number in range(20):
        one["first", number] = two["second", number] = number
    one.save()
    two.save()
    one["first"] = two["second"] = 2
    assert first.stop() == second.stop() == OK
    moved, new = tree(serve, connect, old), tree(serve, connect, data)
    assert moved == {"backup": 1, "first": 2} | {("first", n): n for n in range(20)}
    assert new == {"backup": 1, "second": 2} | {("second", n): n for n in range(20)}


def test_large_files_stay_with_a_folder_that_is_moved(
    data: Path, tmp_path: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    source = tmp_path / "incoming"
    source.mkdir()
    server = serve(data, "--files-from", str(source))
    db = connect(server.write_uri)
    old = data.rename(data.with_name("data.old"))
    data.mkdir()
    (source / "large").write_bytes(b"large")
    db["moved"] = File(str(source / "large"))
    db["sent"] = File(None, "sent", b"sent")
    assert server.stop() == OK
    assert sorted(p.read_bytes() for p in (old / "bigfiles").iterdir()) == [b"large", b"sent"]
    assert list(data.iterdir()) == []


def test_a_server_whose_lock_file_is_removed_acknowledges_nothing_more(
    tmp_path: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    server = serve(tmp_path)
    db = connect(server.write_uri, timeout=5.0)
    for number in range(10):
        db[number] = number
    os.unlink(f"{server.filename}.lock")
    first_refused = write_until_refused(db, 10)
    assert ended(server) == DISK_FAILED
    assert "db.pkl.lock was removed under the server" in server.said()
    assert "all that was acknowledged is in the other files" in server.said()
    found = tree(serve, connect, tmp_path)
    assert list(found)[:first_refused] == list(range(first_refused))
    assert len(found) <= first_refused + 1


def test_a_second_server_finds_a_database_in_use_whose_lock_file_was_removed(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    server = serve(tmp_path)
    # The first one has no time to notice: it is not running.
    assert server.process is not None
    os.kill(server.pid, signal.SIGSTOP)
    os.unlink(f"{server.filename}.lock")
    with pytest.raises(AssertionError, match="is in use by"):
        serve(tmp_path)


def test_what_was_acknowledged_is_kept_when_the_journal_is_removed(
    tmp_path: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    server = serve(tmp_path)
    db = connect(server.write_uri, timeout=5.0)
    for number in range(10):
        db[number] = number
    [(_, journal)] = part_names(Disk(), str(server.filename))
    os.unlink(journal)
    first_refused = write_until_refused(db, 10)
    assert ended(server) == DISK_FAILED
    assert f"{journal} was removed under the server" in server.said()
    rescued = tmp_path / "db.pkl.rescued"
    assert f"is kept in {rescued}" in server.said()
    assert not server.filename.exists()
    again = serve(tmp_path)  # as what watches a service does
    assert f"{rescued} is what a server held" in again.said()
    again.kill()
    for each in tmp_path.glob("db.pkl.journal-*"):
        each.unlink()
    rescued.rename(server.filename)
    assert list(tree(serve, connect, tmp_path))[:first_refused] == list(range(first_refused))


def test_a_saved_file_that_is_removed_is_saved_anew(
    tmp_path: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    server = serve(tmp_path)
    db = connect(server.write_uri)
    db["x"] = 1
    db.save()
    os.unlink(server.filename)
    db["y"] = 2
    assert server.filename.exists()
    assert "db.pkl was removed under the server: it is saved anew" in server.said()
    os.unlink(server.filename)
    wait_until(server.filename.exists)
    os.unlink(server.filename)
    db["z"] = 3
    server.kill()
    assert tree(serve, connect, tmp_path) == {"x": 1, "y": 2, "z": 3}


def test_a_backup_put_where_the_saved_file_was_removed_is_not_written_over(
    data: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    server = serve(data)
    db, connection = client(server.write_uri)
    with connection:
        db["x"] = 1
        db.save()
    os.kill(server.pid, signal.SIGSTOP)
    os.unlink(server.filename)
    shutil.copyfile(tmp_path / "backup" / "db.pkl", server.filename)
    before = server.filename.read_bytes()
    os.kill(server.pid, signal.SIGCONT)
    assert ended(server) == DISK_FAILED
    assert server.filename.read_bytes() == before


@pytest.mark.parametrize("how", ["moved into its place", "copied over it"])
def test_a_backup_put_in_the_place_of_running_files_is_not_written_over(
    data: Path, tmp_path: Path, serve: Callable[..., Server], connect: Connect, how: str
) -> None:
    server = serve(data)
    db = connect(server.write_uri, timeout=5.0)
    for number in range(10):
        db[number] = number
    db.save()
    db["journal"] = 1
    if how == "copied over it":
        shutil.copyfile(tmp_path / "backup" / "db.pkl", data / "db.pkl")
    else:
        shutil.copyfile(tmp_path / "backup" / "db.pkl", data / "new")
        (data / "new").rename(data / "db.pkl")
    before = content(data)
    server.stop()
    assert server.process is not None
    assert server.process.returncode == DISK_FAILED
    assert "db.pkl was replaced under the server" in server.said()
    after = content(data)
    rescued = after.pop("db.pkl.rescued")
    assert after == before
    only = tmp_path / "only"
    only.mkdir()
    (only / "db.pkl").write_bytes(rescued)
    assert tree(serve, connect, only) == {"backup": 1, "journal": 1} | {n: n for n in range(10)}


def test_a_whole_backup_copied_into_the_folder_is_served_as_it_is(
    data: Path, tmp_path: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    server = serve(data)
    db = connect(server.write_uri, timeout=5.0)
    db["lost with the files"] = 1
    for path in [data / "db.pkl", *data.glob("db.pkl.journal-*")]:
        path.unlink()
    for path in (tmp_path / "backup").glob("db.pkl*"):
        if path.suffix != ".lock":
            shutil.copy2(path, data)
    before = content(data)
    server.stop()
    assert server.process is not None
    assert server.process.returncode == DISK_FAILED
    after = content(data)
    assert {name: after[name] for name in before} == before
    assert tree(serve, connect, data) == {"backup": 1}
    read_contents(Disk(), str(data / "db.pkl"))


def test_a_backup_copied_over_all_files_of_a_running_database_is_not_written_into(
    tmp_path: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    server = serve(data)
    db = connect(server.write_uri, timeout=5.0)
    db["backup"] = 1
    shutil.copytree(data, backup)  # with its journal, which no save has replaced
    for number in range(10):
        db[number] = number
    os.kill(server.pid, signal.SIGSTOP)
    for path in backup.glob("db.pkl*"):
        shutil.copyfile(path, data / path.name)
    before = content(data)
    os.kill(server.pid, signal.SIGCONT)
    with pytest.raises(ServerTimeout):
        db["x"] = 1
    assert ended(server) == DISK_FAILED
    after = content(data)
    assert after.pop("db.pkl.rescued")
    assert after == before
    assert tree(serve, connect, data) == {"backup": 1}


def test_a_snapshot_that_is_copied_and_put_back_does_no_harm(
    data: Path, serve: Callable[..., Server], connect: Connect
) -> None:
    server = serve(data)
    db = connect(server.write_uri)
    shutil.copyfile(data / "db.pkl", data / "copy")
    (data / "copy").rename(data / "db.pkl")
    db["x"] = 1
    os.utime(data / "db.pkl")
    db.save()
    assert server.stop() == OK
    assert tree(serve, connect, data) == {"backup": 1, "x": 1}

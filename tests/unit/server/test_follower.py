"""A read-only server's way to keep up: whole versions, each newer than the one before."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyzdb.engine.replica import Replica
from pyzdb.errors import StaleReplica, StorageError, SyncFailed
from pyzdb.protocol.commands import Command
from pyzdb.protocol.replies import WireReply, decode_reply
from pyzdb.protocol.requests import MODES, encode_request
from pyzdb.server.follower import STALE_AFTER, START_PATIENCE, Follower
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.reader import CHUNK
from tests.support.disks import FaultyDisk, MeddlingDisk, broken
from tests.support.engine import Clock, Engine
from tests.torture.faults import Interruption


class Following:
    """A follower and what it serves; closed at the end."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.db = Replica()
        self.follower = Follower(self.db, str(path), disk)

    def look(self) -> Any:
        """Look until there is nothing to do at once, and return the tree."""
        while self.follower.look():
            pass
        return self.db.tree.root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.pkl"


@pytest.fixture
def writer(path: Path) -> Iterator[Engine]:
    """The database that writes the files."""
    engine = Engine(FileStore(path), path)
    yield engine
    engine.store.close()


@pytest.fixture
def reader(path: Path) -> Iterator[Following]:
    following = Following(path)
    yield following
    following.follower.close()


def asked(replica: Replica, mode: str, **fields: Any) -> WireReply:
    """The reply of a replica to a request."""
    kind = MODES[mode].request
    assert kind is not None
    answer = replica.handle(encode_request(kind(version=2, **fields)))
    assert isinstance(answer, bytes)
    return decode_reply(answer)


def parts(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.journal-*"))


def test_there_may_be_nothing_to_follow_yet(path: Path, reader: Following) -> None:
    assert reader.look() == {}
    writer = Engine(FileStore(path), path)
    writer.put("x", 1)
    assert reader.look() == {"x": 1}
    writer.store.close()


def test_records_are_done_as_they_come(writer: Engine, reader: Following) -> None:
    for value in range(3):
        writer.put("x", [value, (value,)])
        assert reader.look() == {"x": [value, (value,)]}
        assert reader.db.sequence == writer.db.sequence
    assert reader.look() == writer.tree


def test_every_kind_of_record_is_followed(writer: Engine, reader: Following) -> None:
    reader.look()
    writer.batch(Command((), "update", ({"x": 1, "l": [1]},)), Command(("l",), "append", (2,)))
    writer.put("x", 2)
    writer.call("undo", 2)
    writer.call("redo")
    token = writer.get("lock")["token"]
    writer.put("y", 3, token=token)
    assert reader.look() == writer.get("readall", token=token) == {"x": 1, "l": [1, 2], "y": 3}
    assert reader.db.history.done == 2


def test_a_save_is_followed_to_the_next_part(path: Path, writer: Engine, reader: Following) -> None:
    for value in range(3):
        writer.put("x", value)
        reader.look()
        writer.save()
        assert len(parts(path)) == 1
        assert reader.look() == {"x": value}
    writer.put("x", "last")
    assert reader.look() == {"x": "last"}


def test_what_is_written_while_a_save_runs_is_followed(writer: Engine, reader: Following) -> None:
    writer.put("x", 1)
    reader.look()
    writer.ask(func="save")
    writer.put("x", 2)
    assert reader.look() == {"x": 2}
    writer.finish_save()
    writer.put("x", 3)
    assert reader.look() == {"x": 3}


def test_several_saves_between_two_looks(writer: Engine, reader: Following) -> None:
    writer.put("x", 0)
    reader.look()
    for value in range(1, 5):
        writer.put("x", value)
        writer.save()
    assert reader.look() == {"x": 4}
    writer.put("x", 5)
    assert reader.look() == {"x": 5}


def test_a_restart_of_the_writer_is_followed(writer: Engine, reader: Following) -> None:
    for value in range(3):
        writer.put("x", value)
        reader.look()
        writer.restart()
        assert reader.look() == writer.tree
        writer.db.save()
        writer.restart()
        writer.put("y", value)
        assert reader.look() == {"x": value, "y": value}


@pytest.mark.parametrize("half", [False, True])
def test_a_torn_tail_is_never_served_and_what_follows_is(path: Path, half: bool) -> None:
    disk = FaultyDisk(fault=broken(), half=half)
    writer = Engine(FileStore(path, disk=disk), path)
    reader = Following(path)
    writer.put("x", 1)
    reader.look()
    disk.at = disk.calls + 1
    with pytest.raises(SyncFailed):
        writer.put("x", "torn" * 1000)
    assert reader.look() == {"x": 1}
    writer.restart()
    assert reader.look() == {"x": 1}
    writer.put("y", 2)
    assert reader.look() == {"x": 1, "y": 2}
    reader.follower.close()
    writer.store.close()


@pytest.mark.parametrize("size", [CHUNK - 100, CHUNK, CHUNK + 100, 3 * CHUNK])
def test_a_record_larger_than_a_piece_is_read(writer: Engine, reader: Following, size: int) -> None:
    writer.put("x", 1)
    reader.look()
    writer.put("x", "a" * size)
    writer.put("y", 2)
    assert reader.look() == {"x": "a" * size, "y": 2}


def test_many_records_are_read_piece_by_piece(writer: Engine, reader: Following) -> None:
    reader.look()
    for value in range(40):
        writer.put(value, "a" * (CHUNK // 9))
    assert list(reader.look()) == list(range(40))


def test_a_reader_that_comes_late_reads_all(path: Path, writer: Engine) -> None:
    writer.put("x", 1)
    writer.save()
    writer.put("y", 2)
    late = Following(path)
    assert late.look() == {"x": 1, "y": 2}
    writer.call("undo", 2)
    assert late.look() == {}
    late.follower.close()


def test_the_file_may_be_missing_for_a_moment(
    path: Path, writer: Engine, reader: Following
) -> None:
    writer.put("x", 1)
    writer.save()
    assert reader.look() == {"x": 1}
    away = path.with_name("away")
    path.rename(away)
    assert reader.look() == {"x": 1}
    away.rename(path)
    writer.put("x", 2)
    assert reader.look() == {"x": 2}


def test_a_file_that_was_removed_and_saved_anew_is_followed(
    path: Path, writer: Engine, reader: Following
) -> None:
    writer.put("x", 1)
    writer.save()
    assert reader.look() == {"x": 1}
    path.unlink()
    writer.put("x", 2)
    assert reader.look() == {"x": 2}
    writer.put("x", 3)
    assert reader.look() == {"x": 3}


def test_all_files_may_be_missing_for_a_moment(
    path: Path, writer: Engine, reader: Following, tmp_path: Path
) -> None:
    writer.put("x", 1)
    writer.save()
    writer.put("y", 2)
    reader.look()
    writer.store.close()
    (tmp_path / "away").mkdir()
    files = [path, *parts(path)]
    for file in files:
        file.rename(tmp_path / "away" / file.name)
    for _ in range(3):
        assert reader.look() == {"x": 1, "y": 2}
    for file in files:
        (tmp_path / "away" / file.name).rename(file)
    assert reader.look() == {"x": 1, "y": 2}


def test_plain_pickles_are_served_and_replaced(path: Path, reader: Following) -> None:
    aside = path.with_name("aside")
    for value in ({"x": 1}, {"x": 2}, {"y": [3]}):
        aside.write_bytes(pickle.dumps(value))
        aside.rename(path)
        assert reader.look() == value
        path.rename(aside)
        assert reader.look() == value
        aside.rename(path)
        assert reader.look() == value


def test_a_plain_pickle_that_gets_a_writer_is_followed(path: Path, reader: Following) -> None:
    path.write_bytes(pickle.dumps({"x": 1}))
    assert reader.look() == {"x": 1}
    writer = Engine(FileStore(path), path)
    writer.put("y", 2)
    assert reader.look() == {"x": 1, "y": 2}
    writer.store.close()


def test_a_damaged_file_changes_nothing(path: Path, writer: Engine, reader: Following) -> None:
    writer.put("x", 1)
    writer.save()
    reader.look()
    writer.put("y", 2)
    writer.save()
    good = path.read_bytes()
    path.write_bytes(good[:60] + bytes([good[60] ^ 1]) + good[61:])
    reader.follower.close()
    assert reader.look() == {"x": 1}
    path.write_bytes(good)
    assert reader.look() == {"x": 1, "y": 2}


def test_it_goes_back_only_to_an_older_copy_that_was_put_back(
    path: Path,
    writer: Engine,
    reader: Following,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer.put("x", 1)
    writer.save()
    old = tmp_path / "old"
    shutil.copytree(tmp_path, old)
    writer.put("x", 2)
    writer.save()
    writer.put("x", 3)
    assert reader.look() == {"x": 3}
    writer.store.close()
    for file in (path, *parts(path)):
        file.unlink()
    assert reader.look() == {"x": 3}
    for file in old.iterdir():
        shutil.copy(file, tmp_path)
    assert reader.look() == {"x": 1}
    assert "goes back from record 3 to 1" in caplog.text


def test_nothing_is_shown_before_the_writer_has_synced_it(
    path: Path, writer: Engine, reader: Following
) -> None:
    writer.put("x", 1)
    assert reader.look() == {"x": 1}
    note = (path.parent / "db.pkl.synced").read_bytes()
    writer.put("x", 2)
    writer.put("x", 3)
    # As the files are while the sync of the newest records has not ended.
    (path.parent / "db.pkl.synced").write_bytes(note)
    assert reader.look() == {"x": 1}
    another = Following(path)
    assert another.look() == {"x": 1}
    another.follower.close()
    writer.put("y", 4)
    assert reader.look() == {"x": 3, "y": 4}


class SlowDisk(Disk):
    """A disk on which something is done while a sync is under way."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def datasync(self, fd: int) -> None:
        self.meanwhile()
        super().datasync(fd)


def test_nothing_is_shown_while_its_sync_is_under_way(path: Path, reader: Following) -> None:
    disk = SlowDisk()
    writer = Engine(FileStore(path, disk=disk), path)
    writer.put("n", 0)
    reader.look()
    shown = []

    def look() -> None:
        shown.append(reader.look()["n"])
        late = Following(path)
        shown.append(late.look()["n"])
        late.follower.close()

    for number in range(1, 4):
        shown.clear()
        disk.meanwhile = look
        writer.put("n", number)
        disk.meanwhile = lambda: None
        assert set(shown) == {number - 1}
        assert reader.look() == {"n": number}
    writer.store.close()


def test_records_without_a_note_are_those_of_a_disk_that_was_found_so(
    path: Path, writer: Engine, reader: Following
) -> None:
    writer.put("x", 1)
    writer.store.close()
    (path.parent / "db.pkl.synced").write_bytes(b"torn")
    assert reader.look() == {"x": 1}


def test_files_that_cannot_be_read_are_told_at_once_and_are_too_old_after_a_while(
    path: Path, writer: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer.put("x", 1)
    now = Clock(0.0)
    replica = Replica()
    follower = Follower(replica, str(path), clock=now)
    follower.start()
    good = parts(path)[-1].read_bytes()
    writer.save()
    path.write_bytes(b"no snapshot at all, but long enough for the header of one")
    parts(path)[-1].unlink()
    follower.look()
    assert "the version before is still served" in caplog.text
    assert asked(replica, "readall").value == {"x": 1}
    now.now += STALE_AFTER
    follower.look()
    with pytest.raises(StaleReplica, match="has not been able to read its files"):
        raise asked(replica, "readall").error
    path.unlink()
    (path.parent / "db.pkl.journal-000000000001").write_bytes(good)
    follower.look()
    assert asked(replica, "readall").error is None
    follower.close()


def test_a_start_waits_for_files_that_can_be_read_and_says_why_it_waits(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deeds: list[Callable[[], object]] = [
        lambda: None,
        lambda: path.write_bytes(b"pyzdb snapshot 1\n" + bytes(100)),
        lambda: None,
        lambda: path.write_bytes(pickle.dumps({"x": 1})),
    ]
    replica = Replica()
    follower = Follower(replica, str(path), clock=Clock(0.0), sleep=lambda _: deeds.pop(0)())
    follower.start()
    assert replica.tree.root == {"x": 1}
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for the server that writes {path}: there is no database {path}",
        f"waiting for the server that writes {path}: {path} is damaged at offset 41: "
        "its checksum is wrong",
    ]
    follower.close()


def test_a_start_that_has_waited_long_enough_fails(path: Path) -> None:
    now = Clock(0.0)

    def sleep(seconds: float) -> None:
        now.now += seconds

    with pytest.raises(StorageError, match=f"there is no database {path}"):
        Follower(Replica(), str(path), clock=now, sleep=sleep).start()
    assert now.now > START_PATIENCE


def test_a_snapshot_of_a_newer_version_is_not_read_and_the_version_before_is_served(
    path: Path, writer: Engine, reader: Following, caplog: pytest.LogCaptureFixture
) -> None:
    writer.put("x", 1)
    assert reader.look() == {"x": 1}
    writer.save()
    path.write_bytes(b"pyzdb snapshot 2\n" + bytes(100))
    assert reader.look() == {"x": 1}
    assert "was written by a newer version of pyzdb" in caplog.text


def test_what_a_client_has_seen_is_there_or_it_is_told_to_come_back(
    writer: Engine, reader: Following
) -> None:
    writer.put("x", 1)
    seen = writer.ask("read", index=("x",)).sequence
    reader.look()
    behind = asked(reader.db, "read", index=("x",), at_least=seen + 1)
    assert (behind.wait, behind.sequence) == ("behind", seen)
    writer.put("x", 2)
    answer = asked(reader.db, "read", index=("x",), at_least=seen + 1)
    assert (answer.value, answer.sequence) == (2, seen + 1)


def test_a_part_of_another_database_is_not_taken_for_the_next_one(
    path: Path, writer: Engine, reader: Following
) -> None:
    writer.put("x", 1)
    assert reader.look() == {"x": 1}
    writer.store.close()
    for file in parts(path):
        file.unlink()
    other = Engine(FileStore(path), path)
    other.put("y", 1)
    other.save()
    other.put("y", 2)
    reader.look()
    assert reader.look() == {"y": 2}
    other.store.close()


@pytest.mark.parametrize("saves", [0, 1, 2])
@pytest.mark.parametrize("is_new", [False, True])
def test_whatever_the_writer_does_during_a_look_the_next_one_sees_it(
    tmp_path: Path, saves: int, is_new: bool
) -> None:
    for at in count(1):
        path = tmp_path / f"{at}.pkl"
        writer = Engine(FileStore(path), path)

        def meddle(writer: Engine = writer) -> None:
            for number in range(saves):
                writer.put("x", number)
                writer.save()
            writer.put("y", 1)

        disk = MeddlingDisk(meddle)
        reader = Following(path, disk)
        writer.put("x", "before")
        if not is_new:
            reader.look()
            writer.put("x", "between")
            writer.save()
        disk.calls_left = at
        reader.look()
        was_done, disk.calls_left = disk.calls_left <= 0, 0
        seen = reader.db.sequence
        assert reader.look() == writer.tree
        assert reader.db.sequence == writer.db.sequence >= seen
        reader.follower.close()
        writer.store.close()
        if not was_done:
            break


DEEDS = st.lists(st.sampled_from(["put", "put", "undo", "save", "background", "restart", "look"]))


@settings(max_examples=25)
@given(DEEDS)
def test_a_look_shows_the_newest_version(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[str]
) -> None:
    path = tmp_path_factory.mktemp("db") / "db.pkl"
    writer = Engine(FileStore(path, "never"), path)
    reader = Following(path)
    for number, deed in enumerate(deeds):
        if deed == "put":
            writer.put(number % 3, number)
        elif deed == "undo":
            writer.ask(func="undo")
        elif deed == "restart":
            writer.restart()
        elif deed == "look":
            assert reader.look() == writer.tree
            assert reader.db.sequence == writer.db.sequence
        elif writer.db.save_fd is not None:
            writer.finish_save()
        elif deed == "save":
            writer.save()
        else:
            writer.ask(func="save")
    assert reader.look() == writer.tree
    reader.follower.close()
    writer.store.close()


def test_the_first_look_is_at_once(writer: Engine, reader: Following) -> None:
    writer.put("x", 1)
    assert reader.follower.tick() > 0
    assert reader.db.tree.root == {"x": 1}


@pytest.mark.needs("proc")
def test_a_closed_follower_holds_no_file(writer: Engine, reader: Following) -> None:
    before = os.listdir("/proc/self/fd")
    writer.put("x", 1)
    for _ in range(3):
        writer.save()
        reader.look()
    reader.follower.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.untraced
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of files that are open just then
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_look_that_finds_no_memory_anywhere_is_made_again(
    writer: Engine, reader: Following
) -> None:
    writer.put("n", {"sum": 0, "l": []})
    for at in count(1):
        writer.batch(Command(("n", "l"), "append", (at,)), Command(("n", "sum"), "__iadd__", (1,)))
        if at % 10 == 0:
            writer.save()
        writer.call("__iadd__", 1, at=("n", "sum"))
        with Interruption(MemoryError, at, "line") as interruption, suppress(MemoryError):
            reader.follower.look()
        assert reader.look() == writer.tree
        assert reader.db.sequence == writer.db.sequence
        assert reader.db.tree.state == "settled"
        if interruption.left:
            break
    assert at > 50

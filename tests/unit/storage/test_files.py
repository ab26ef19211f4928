"""Files beside the database: what is taken, what is refused, and what is left when it fails."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb.errors import FileRefused, StorageError, StorageFull
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_folder import FileFolder
from pyzdb.storage.files import Files, ingest
from pyzdb.values import Custom, File


@pytest.fixture
def files(tmp_path: Path, source: Path) -> Files:
    return Files(Disk(), str(tmp_path / "bigfiles"), [str(source.parent)], str(tmp_path / "db.pkl"))


def stored(tmp_path: Path) -> list[str]:
    folder = tmp_path / "bigfiles"
    return sorted(os.listdir(folder)) if folder.exists() else []


class OtherFileSystem(Disk):
    """A disk on which the folder lies on a file system of its own."""

    def link_held(self, fd: int, target: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


class FullDisk(OtherFileSystem):
    """A disk without room for content."""

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FailingSync(Disk):
    """A disk that cannot sync a folder."""

    def sync_folder(self, path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class Recorded(Disk):
    """A disk that writes down what became durable, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def sync(self, fd: int) -> None:
        self.steps.append(f"sync {self.path_of(fd)}")
        super().sync(fd)

    def link_held(self, fd: int, target: str) -> None:
        self.steps.append("link")
        super().link_held(fd, target)


def test_a_file_moves_into_the_folder_and_keeps_its_name(
    files: Files, source: Path, tmp_path: Path
) -> None:
    taken = files.take(File(str(source)))
    assert source.exists()
    taken.commit()
    assert not source.exists()
    assert taken.file.filename == "report.pdf"
    assert taken.file.content is None
    location = Path(str(taken.file.location))
    assert location.parent == tmp_path / "bigfiles"
    assert location.name.endswith("report.pdf")
    assert location.read_bytes() == b"the report"


def test_a_file_that_moves_within_a_file_system_is_not_copied(files: Files, source: Path) -> None:
    inode = source.stat().st_ino
    taken = files.take(File(str(source)))
    assert os.stat(str(taken.file.location)).st_ino == inode


def test_the_folder_is_made_when_it_is_needed_and_is_the_owners_only(
    files: Files, source: Path, tmp_path: Path
) -> None:
    assert not (tmp_path / "bigfiles").exists()
    files.take(File(str(source)))
    assert stat.S_IMODE((tmp_path / "bigfiles").stat().st_mode) == 0o700


def test_content_and_name_are_on_the_disk_before_the_file_counts_as_taken(
    source: Path, tmp_path: Path
) -> None:
    disk = Recorded()
    Files(disk, str(tmp_path / "bigfiles"), [str(source.parent)]).take(File(str(source)))
    folder = tmp_path / "bigfiles"
    assert disk.steps == [f"sync {tmp_path}", f"sync {source}", "link", f"sync {folder}"]


def test_an_operation_that_fails_leaves_the_source_and_nothing_else(
    files: Files, source: Path, tmp_path: Path
) -> None:
    taken = files.take(File(str(source)))
    taken.discard()
    assert source.read_bytes() == b"the report"
    assert stored(tmp_path) == []


def test_another_name_can_be_given(files: Files, source: Path) -> None:
    taken = files.take(File(str(source), "Report of May.pdf"))
    assert taken.file.filename == "Report of May.pdf"
    assert str(taken.file.location).endswith("-Report of May.pdf")


def test_content_is_stored_without_any_folder_allowed(tmp_path: Path) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"))
    taken = files.take(File(filename="a.bin", content=b"\0\1"))
    taken.commit()
    assert (taken.file.filename, taken.file.content) == ("a.bin", None)
    path = Path(str(taken.file.location))
    assert path.read_bytes() == b"\0\1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_content_of_a_failed_operation_is_removed(tmp_path: Path) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"))
    files.take(File(filename="a.bin", content=b"")).discard()
    assert stored(tmp_path) == []


def test_a_file_from_another_file_system_is_copied_and_its_source_removed(
    source: Path, tmp_path: Path
) -> None:
    folder = str(tmp_path / "bigfiles")
    files = Files(OtherFileSystem(), folder, [str(source.parent)], chunk=3)
    taken = files.take(File(str(source)))
    assert Path(str(taken.file.location)).read_bytes() == b"the report"
    assert os.stat(str(taken.file.location)).st_ino != source.stat().st_ino
    taken.commit()
    assert not source.exists()


def test_a_file_that_grows_while_it_is_copied_is_refused(source: Path, tmp_path: Path) -> None:
    class Growing(OtherFileSystem):
        def read(self, fd: int, size: int, offset: int) -> bytes:
            with source.open("ab") as file:
                file.write(b"more")
            return super().read(fd, size, offset)

    files = Files(Growing(), str(tmp_path / "bigfiles"), [str(source.parent)])
    with pytest.raises(FileRefused, match="changed meanwhile"):
        files.take(File(str(source)))
    assert stored(tmp_path) == []


def test_a_file_that_was_stored_is_stored_again_as_it_is(files: Files, source: Path) -> None:
    first = files.take(File(str(source)))
    first.commit()
    second = files.take(first.file)
    assert second.file == first.file
    second.discard()
    second.commit()
    assert os.path.exists(str(first.file.location))


def test_a_source_that_is_another_file_by_now_stays(files: Files, source: Path) -> None:
    taken = files.take(File(str(source)))
    source.unlink()
    source.write_bytes(b"the next report")
    taken.commit()
    assert source.read_bytes() == b"the next report"


def test_a_source_that_is_gone_by_now_is_no_error(files: Files, source: Path) -> None:
    taken = files.take(File(str(source)))
    source.unlink()
    taken.commit()
    assert Path(str(taken.file.location)).read_bytes() == b"the report"


def test_a_source_that_cannot_be_removed_is_reported(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Kept(Disk):
        def unlink(self, path: str) -> None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    files = Files(Kept(), str(tmp_path / "bigfiles"), [str(source.parent)])
    with caplog.at_level(logging.WARNING):
        files.take(File(str(source))).commit()
    assert f"{source} was taken, but cannot be removed: Permission denied" in caplog.text


def test_without_a_folder_allowed_the_error_says_how_to_allow_one(
    source: Path, tmp_path: Path
) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"))
    with pytest.raises(FileRefused, match="--files-from"):
        files.take(File(str(source)))
    assert source.exists()
    assert stored(tmp_path) == []


def test_what_lies_elsewhere_is_refused_with_the_same_words_whether_it_is_there_or_not(
    files: Files, tmp_path: Path
) -> None:
    (tmp_path / "there").write_bytes(b"")
    words = []
    for name in ("there", "missing"):
        with pytest.raises(FileRefused) as caught:
            files.take(File(str(tmp_path / name)))
        words.append(str(caught.value).replace(name, "NAME"))
    assert words[0] == words[1]


@pytest.mark.parametrize(
    "location",
    ["in/../secret", "in/sub/../../secret", "in-other/secret", "in/out/secret", "in/link", "in"],
)
def test_nothing_leads_out_of_the_folders_allowed(
    files: Files, source: Path, tmp_path: Path, location: str
) -> None:
    for folder in (tmp_path, tmp_path / "in-other"):
        folder.mkdir(exist_ok=True)
        (folder / "secret").write_bytes(b"secret")
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(FileRefused, match="--files-from"):
        files.take(File(str(tmp_path / location), "secret"))
    assert (tmp_path / "secret").exists()


def test_a_link_to_a_file_in_the_folder_is_followed(files: Files, source: Path) -> None:
    link = source.parent / "newest"
    link.symlink_to("report.pdf")
    taken = files.take(File(str(link)))
    taken.commit()
    assert Path(str(taken.file.location)).read_bytes() == b"the report"
    assert not source.exists()


def test_a_folder_allowed_may_be_a_link_itself(source: Path, tmp_path: Path) -> None:
    (tmp_path / "drop").symlink_to(source.parent)
    files = Files(Disk(), str(tmp_path / "bigfiles"), [str(tmp_path / "drop")])
    assert files.take(File(str(tmp_path / "drop" / "report.pdf"))).file.filename == "report.pdf"


def test_the_whole_file_system_can_be_allowed(source: Path, tmp_path: Path) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"), ["/"])
    assert files.take(File(str(source))).file.filename == "report.pdf"


@pytest.mark.parametrize("name", ["db.pkl", "db.pkl.journal-000000000001", "db.pkl.lock"])
def test_the_files_of_the_database_are_never_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"data")
    files = Files(Disk(), str(tmp_path / "bigfiles"), [str(tmp_path)], str(tmp_path / "db.pkl"))
    with pytest.raises(FileRefused, match="belongs to the database"):
        files.take(File(str(tmp_path / name)))


def test_what_is_not_a_regular_file_is_refused_without_waiting(files: Files, source: Path) -> None:
    folder = source.parent
    (folder / "sub").mkdir()
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        refused = {"sub": "a folder", "fifo": "not a regular file", "socket": "not a regular file"}
        for name, why in refused.items():
            with pytest.raises(FileRefused, match=why):
                files.take(File(str(folder / name)))


def test_a_device_is_refused(tmp_path: Path) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"), ["/dev"])
    with pytest.raises(FileRefused, match="not a regular file"):
        files.take(File("/dev/null"))


def test_a_file_that_is_missing_is_refused(files: Files, source: Path) -> None:
    with pytest.raises(FileRefused, match="No such file"):
        files.take(File(str(source.parent / "missing")))


def test_a_loop_of_links_is_refused(files: Files, source: Path) -> None:
    (source.parent / "a").symlink_to("b")
    (source.parent / "b").symlink_to("a")
    with pytest.raises(FileRefused):
        files.take(File(str(source.parent / "a")))


@pytest.mark.parametrize(
    "location", ["report.pdf", "", "~/report.pdf", "/in\0/x", "/" + "a/" * 100_000, "/\ud800"]
)
def test_what_is_no_full_path_is_refused(files: Files, location: str) -> None:
    with pytest.raises(FileRefused, match="is not a location"):
        files.take(File(location, "x"))


def test_a_file_that_may_not_be_read_is_refused(source: Path, tmp_path: Path) -> None:
    class Unreadable(Disk):
        def reopen(self, fd: int) -> int:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    files = Files(Unreadable(), str(tmp_path / "bigfiles"), [str(source.parent)])
    with pytest.raises(FileRefused, match="Permission denied"):
        files.take(File(str(source)))


def test_a_name_that_changes_between_the_look_and_the_link_leads_nowhere(
    source: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    class SwappedBeforeHold(Disk):
        """The folder becomes a link to another one after its path was resolved."""

        def hold(self, path: str) -> int:
            source.parent.rename(tmp_path / "moved")
            source.parent.symlink_to(tmp_path)
            secret.rename(tmp_path / "report.pdf")
            return super().hold(path)

    files = Files(SwappedBeforeHold(), str(tmp_path / "bigfiles"), [str(source.parent)])
    with pytest.raises(FileRefused, match="moved meanwhile"):
        files.take(File(str(source)))
    assert stored(tmp_path) == []


def test_a_name_that_changes_after_the_look_does_not_change_what_is_taken(
    source: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    class SwappedBeforeLink(Disk):
        def reopen(self, fd: int) -> int:
            source.unlink()
            source.symlink_to(secret)
            return super().reopen(fd)

    other = source.parent / "second name"
    os.link(source, other)
    files = Files(SwappedBeforeLink(), str(tmp_path / "bigfiles"), [str(source.parent)])
    taken = files.take(File(str(source)))
    assert Path(str(taken.file.location)).read_bytes() == b"the report"
    taken.commit()
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("content", [None, b"content"])
def test_a_full_disk_is_an_error_that_leaves_nothing(
    source: Path, tmp_path: Path, content: bytes | None
) -> None:
    files = Files(FullDisk(), str(tmp_path / "bigfiles"), [str(source.parent)])
    with pytest.raises(StorageFull):
        files.take(File(None if content else str(source), "report.pdf", content))
    assert stored(tmp_path) == []
    assert source.read_bytes() == b"the report"


def test_a_sync_that_fails_is_an_error_that_leaves_nothing(source: Path, tmp_path: Path) -> None:
    files = Files(FailingSync(), str(tmp_path / "bigfiles"), [str(source.parent)])
    for _ in range(2):  # with and without the folder
        with pytest.raises(StorageError, match=r"report\.pdf cannot be stored"):
            files.take(File(str(source)))
        assert stored(tmp_path) == []


@pytest.mark.parametrize(
    ("filename", "ending"),
    [
        ("..", "-.."),
        (".", "-."),
        ("", "-"),
        (".hidden", "-.hidden"),
        ("a/b", "-b"),
        ("../../etc/passwd", "-passwd"),
        ("..\\..\\boot.ini", "-boot.ini"),
        ("line\nbreak\0.txt", "-line_break_.txt"),
        ("r\u00e9sum\u00e9.pdf", "-r\u00e9sum\u00e9.pdf"),
        ("x" * 300 + ".pdf", "x.pdf"),
        ("\u00e9" * 300 + ".pdf", "\u00e9.pdf"),
        ("." + "x" * 300, "x"),
    ],
)
def test_the_name_in_the_folder_is_readable_and_harmless(
    tmp_path: Path, filename: str, ending: str
) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"))
    taken = files.take(File(filename=filename, content=b""))
    (name,) = stored(tmp_path)
    assert taken.file.location == str(tmp_path / "bigfiles" / name)
    assert name.endswith(ending)


@given(filename=st.text())
def test_any_name_is_a_name_of_a_file_in_the_folder(
    tmp_path_factory: pytest.TempPathFactory, filename: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    file = Files(Disk(), str(folder)).take(File(filename=filename, content=b"")).file
    assert os.path.dirname(os.path.realpath(str(file.location))) == str(folder)
    assert os.path.isfile(str(file.location))


def test_files_of_the_same_name_do_not_meet(tmp_path: Path) -> None:
    files = Files(Disk(), str(tmp_path / "bigfiles"))
    first = files.take(File(filename="a", content=b"1")).file
    second = files.take(File(filename="a", content=b"2")).file
    assert Path(str(first.location)).read_bytes() == b"1"
    assert Path(str(second.location)).read_bytes() == b"2"


def test_a_folder_on_another_disk_may_stand_behind_a_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bigfiles").symlink_to(tmp_path / "elsewhere")
    files = Files(Disk(), str(tmp_path / "bigfiles"), [str(source.parent)])
    first = files.take(File(str(source))).file
    assert os.path.dirname(str(first.location)) == str(tmp_path / "elsewhere")
    assert files.take(first).file == first


def test_every_file_in_a_value_is_taken(files: Files, source: Path) -> None:
    other = source.parent / "other"
    other.write_bytes(b"")
    value = {
        "a": [1, (File(str(source)), "x")],
        "b": {File(filename="c", content=b"c")},
        "d": Custom("own", {"data": frozenset({File(str(other))})}),
        ("k",): None,
    }
    new, taken = ingest(files, value)
    assert len(taken) == 3
    for one in taken:
        one.commit()
    assert not source.exists()
    assert not other.exists()
    (only,) = new["b"]
    (own,) = new["d"].fields["data"]
    found = [new["a"][1][0], only, own]
    assert [file.filename for file in found] == ["report.pdf", "c", "other"]
    assert all(os.path.isfile(str(file.location)) for file in found)
    assert new["a"] == [1, (found[0], "x")]
    assert new[("k",)] is None
    assert value["a"] == [1, (File(str(source)), "x")]


def test_a_value_without_a_file_comes_back_itself(files: Files) -> None:
    value = {"a": [1, (2, {3}), Custom("own", {})]}
    new, taken = ingest(files, value)
    assert new is value
    assert taken == []


def test_when_one_file_is_refused_none_is_taken(files: Files, source: Path, tmp_path: Path) -> None:
    value = [File(filename="a", content=b""), File(str(source)), File("/missing")]
    with pytest.raises(FileRefused):
        ingest(files, value)
    assert stored(tmp_path) == []
    assert source.exists()


def test_the_same_file_twice_in_a_value_is_stored_twice(files: Files, source: Path) -> None:
    new, taken = ingest(files, [File(str(source)), File(str(source))])
    for one in taken:
        one.commit()
    assert not source.exists()
    assert [Path(str(file.location)).read_bytes() for file in new] == [b"the report"] * 2


# --- what a record says of a move ----------------------------------------------------------------


def test_the_source_of_a_move_that_a_crash_left_is_removed(files: Files, source: Path) -> None:
    moved = files.take(File(str(source))).moved
    assert moved is not None
    files.complete_move(tuple(moved))
    assert not source.exists()
    files.complete_move(tuple(moved))


def test_the_source_of_a_copy_that_a_crash_left_is_removed(source: Path, tmp_path: Path) -> None:
    files = Files(OtherFileSystem(), str(tmp_path / "bigfiles"), [str(source.parent)])
    moved = files.take(File(str(source))).moved
    assert moved is not None
    files.complete_move(tuple(moved))
    assert not source.exists()


def test_a_source_that_was_written_anew_is_left(files: Files, source: Path) -> None:
    moved = files.take(File(str(source))).moved
    assert moved is not None
    source.unlink()
    source.write_bytes(b"another report")
    files.complete_move(tuple(moved))
    assert source.read_bytes() == b"another report"


@pytest.mark.parametrize(
    "kind", ["elsewhere", "another folder", "no identity", "a path for a name"]
)
def test_a_record_that_the_server_did_not_make_removes_nothing(
    files: Files, source: Path, tmp_path: Path, kind: str
) -> None:
    moved = files.take(File(str(source))).moved
    assert moved is not None
    _, name, identity, folder = moved
    mine = tmp_path / "mine"
    mine.write_bytes(b"precious")
    status = mine.stat()
    its = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    hostile: dict[str, tuple[object, ...]] = {
        "elsewhere": (str(mine), name, its, folder),
        "another folder": (str(source), name, identity, (folder[0], folder[1] + 1)),
        "no identity": (str(mine), str(mine)),
        "a path for a name": (str(source), f"../bigfiles/{name}", identity, folder),
    }
    files.complete_move(hostile[kind])
    assert mine.exists()
    assert source.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "0123456789abcdef-other", "a pipe", "a link"])
def test_a_source_is_left_when_the_folder_does_not_hold_its_content(
    files: Files, source: Path, tmp_path: Path, name: str
) -> None:
    moved = files.take(File(str(source))).moved
    assert moved is not None
    _, own_name, _, folder = moved
    bigfiles = tmp_path / "bigfiles"
    (bigfiles / "0123456789abcdef-other").write_bytes(b"the Report")
    os.mkfifo(bigfiles / "a pipe")
    mine = source.parent / "mine"
    mine.write_bytes(b"the report")
    os.symlink(mine, bigfiles / "a link")
    status = mine.stat()
    its = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    files.complete_move((str(mine), name, its, folder))
    assert mine.exists()
    files.complete_move((str(mine), own_name, its, folder))
    assert not mine.exists()  # what it held is kept


def test_a_file_with_another_name_is_copied(files: Files, source: Path, tmp_path: Path) -> None:
    os.link(source, tmp_path / "other name")
    taken = files.take(File(str(source)))
    taken.commit()
    (tmp_path / "other name").write_bytes(b"changed")
    assert Path(str(taken.file.location)).read_bytes() == b"the report"
    assert not source.exists()


# --- what is stored and what is told -------------------------------------------------------------


def test_a_location_of_an_earlier_version_is_found_by_its_name(tmp_path: Path) -> None:
    name = "0123456789abcdef-report.pdf"
    (tmp_path / "bigfiles").mkdir()
    (tmp_path / "bigfiles" / name).write_bytes(b"the report")
    folder = FileFolder(Disk(), str(tmp_path / "db.pkl"))
    here = File(str(tmp_path / "bigfiles" / name), "report.pdf")
    assert folder.told(File(f"/gone/bigfiles/{name}", "report.pdf")) == here
    assert folder.told(File(name, "report.pdf")) == here
    assert folder.stored(here) == File(name, "report.pdf")
    for other in ("/gone/bigfiles/report.pdf", f"/gone/1{name[1:]}", "/etc/passwd"):
        assert folder.told(File(other)) == File(other)
        assert folder.stored(File(other)) == File(other)


def test_no_stored_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = FileFolder(Disk(), str(tmp_path / "db.pkl"))
    told = folder.told(File("../../etc/passwd", "passwd"))
    assert told.location == str(tmp_path / "bigfiles" / "passwd")

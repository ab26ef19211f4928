"""What released versions of pyzdb wrote, and what they answered: it stays so.

The files of each version lie in tests/data, with the script that made them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pyzdb.cli import OK
from pyzdb.cli.check import main as check
from pyzdb.engine.replica import Replica
from pyzdb.server.follower import Follower
from pyzdb.storage.disk import Disk
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.files import Files
from pyzdb.storage.layout import Layout
from pyzdb.storage.memory import MemoryStore
from pyzdb.values import File
from tests.support.engine import Engine

DATA = Path(__file__).parents[1] / "data"

VERSIONS = sorted(path.name for path in DATA.iterdir())

FORMS = ["saved", "journal"]
"""A snapshot with two parts of a journal after it, and a journal alone; both hold the same."""

TOKEN = 1234567890123456789
DAY = 86400.0

RECORDS = 28

Exchange = tuple[str, bool, str]
"""A message, whether it comes on the socket of the lock, and the answer."""


class Old:
    """A copy of a database that a released version wrote, opened by this one."""

    def __init__(self, version: str, form: str, folder: Path) -> None:
        shutil.copytree(DATA / version / form, folder)
        self.folder = folder.resolve()
        self.path = self.folder / "db.pkl"
        self.told: dict[str, list[Exchange]] = json.loads(
            (DATA / version / f"{form}.json").read_text()
        )

    def open(self) -> Engine:
        files = Files(Disk(), Layout(str(self.path)).large_files)
        return Engine(
            FileStore(self.path),
            self.path,
            files=files,
            lock_uri="tcp://localhost:5558",
            new_token=lambda: TOKEN,
        )

    def in_its_folder(self, answer: str) -> str:
        return answer.replace("{folder}", str(self.folder))


def answers(engine: Engine, exchanges: list[Exchange]) -> list[str]:
    """What a database answers to some messages now."""
    texts = []
    for message, on_lock_socket, _ in exchanges:
        answer = engine.db.handle(message.encode(), on_lock_socket)
        engine.db.flush()
        assert isinstance(answer, bytes)
        texts.append(answer.decode())
    return texts


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FORMS)
def old(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> Old:
    return Old(version, request.param, tmp_path / "old")


@pytest.fixture
def engine(old: Old) -> Iterator[Engine]:
    engine = old.open()
    yield engine
    engine.store.close()


def test_there_is_a_version() -> None:
    assert "0.1.0" in VERSIONS


def test_what_was_answered_once_is_answered_again(old: Old, engine: Engine) -> None:
    exchanges = old.told["repeated"]
    assert len(exchanges) == 6
    assert answers(engine, exchanges) == [answer for *_, answer in exchanges]
    assert engine.db.sequence == RECORDS


def test_values_and_history_are_as_they_were(old: Old, engine: Engine) -> None:
    exchanges = old.told["asked"]
    expected = [old.in_its_folder(answer) for *_, answer in exchanges]
    assert answers(engine, exchanges) == expected
    engine.db.save()
    engine.restart()
    assert answers(engine, exchanges) == expected


def test_values_are_what_they_were_in_python(engine: Engine) -> None:
    tree = engine.get("readall", token=TOKEN)
    assert tree["large"] == [2**200, -(2**64), 2**63]
    assert tree["set"] == {1, "a", (2, 3)}
    assert tree["moment"] == datetime(2024, 7, 1, 12, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert tree["moment"].tzinfo == ZoneInfo("Europe/Berlin")
    assert list(tree["keys"]) == [1, (1, "a"), None, b"k", 2.5, 2**70]
    assert isinstance(tree["file"], File)
    assert Path(str(tree["file"].location)).read_bytes() == b"a large file"


def test_steps_are_undone_and_done_again(old: Old, engine: Engine) -> None:
    exchanges = old.told["steps"]
    expected = [old.in_its_folder(answer) for *_, answer in exchanges]
    assert answers(engine, exchanges) == expected


def test_the_lock_is_held_for_what_is_left_of_its_lease(engine: Engine) -> None:
    held = engine.db.lock.held
    assert held is not None
    assert (held.token, held.lease, held.client) == (TOKEN, DAY, "keeper")
    engine.pass_seconds(DAY - 1)
    engine.db.tick()
    assert engine.ask("read", index=("counter",)).wait == "locked"
    engine.pass_seconds(2)
    engine.db.tick()
    assert engine.get("read", index=("counter",)) == 1


def test_a_check_finds_it_whole(old: Old, capsys: pytest.CaptureFixture[str]) -> None:
    assert check([str(old.path)]) == OK
    assert f"{old.path} is whole, up to record {RECORDS}" in capsys.readouterr().out


def test_a_read_only_server_reads_it(old: Old) -> None:
    replica = Replica()
    follower = Follower(replica, str(old.path))
    follower.start()
    follower.close()
    assert replica.sequence == RECORDS
    assert replica.tree.root["counter"] == 1


def test_clients_of_either_version_get_the_same_bytes(version: str) -> None:
    exchanges: list[Exchange] = json.loads((DATA / version / "wire.json").read_text())
    engine = Engine(
        MemoryStore(), exec=True, lock_uri="tcp://localhost:5558", new_token=lambda: TOKEN
    )
    for exchange in exchanges:
        assert answers(engine, [exchange]) == [exchange[2]], exchange[0]


def test_a_pickle_of_the_first_program_is_served_and_kept(tmp_path: Path, version: str) -> None:
    original = (DATA / version / "python2" / "db.pkl").read_bytes()
    assert original.startswith(b"\x80\x02")
    path = tmp_path / "db.pkl"
    path.write_bytes(original)
    engine = Engine(FileStore(path), path)
    tree: Any = {
        "x": 3,
        "name": "text",
        "über": "\N{SNOWMAN}",
        "l": [0, 1, 2],
        "long": 2**70,
        "nested": {"t": (1, None, True), "s": {1, 2}, 5: 2.5},
    }
    assert engine.tree == tree
    assert Path(Layout(str(path)).original).read_bytes() == original
    engine.put("y", 4)
    engine.restart()
    assert engine.tree == tree | {"y": 4}
    engine.store.close()

"""Moments in named time zones pass through machines that do not know the zone."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pyzdb.client import client
from pyzdb.errors import PathTypeError
from pyzdb.protocol.commands import Command
from pyzdb.storage.file_store import FileStore
from pyzdb.storage.snapshot import load_state
from pyzdb.values.plain import TAG
from pyzdb.values.tags import dumps, from_wire, loads
from pyzdb.values.zones import kept, made
from tests.support.engine import Engine
from tests.support.programs import LIMIT, ROOT, Server, environment, wait_until
from tests.support.strategies import same

ZURICH = ZoneInfo("Europe/Zurich")
SUMMER = datetime(2024, 7, 1, 12, tzinfo=ZURICH)
WINTER = datetime(2024, 12, 1, 12, tzinfo=ZURICH)
TWICE = datetime(2024, 10, 27, 2, 30, tzinfo=ZURICH)
TOKYO = time(1, 2, 3, tzinfo=ZoneInfo("Asia/Tokyo"))

STORED: dict[str, Any] = {
    "one": SUMMER,
    "more": [WINTER, {"x": TWICE, "y": TWICE.replace(fold=1)}],
    "time": (TOKYO, time(1, tzinfo=ZURICH)),
    "keys": {SUMMER: 1, "set": {WINTER}},
    "plain": 3,
}


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that knows no time zones."""
    hidden = tmp_path / "hidden" / "tzdata"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("")
    return environment(PYTHONTZPATH="", PYTHONPATH=f"{hidden.parent}{os.pathsep}{ROOT}")


def run_without(environ: dict[str, str], source: str, *arguments: str) -> str:
    """What Python code prints where no time zones are known."""
    ended = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environ,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def in_vain(environ: dict[str, str], server: Server) -> Server:
    """A server whose machine knows no time zones."""
    server.before = [
        "/usr/bin/env",
        *(f"{name}={environ[name]}" for name in ("PYTHONTZPATH", "PYTHONPATH")),
    ]
    return server


# --- a moment by itself ----------------------------------------------------------------------


def test_the_environment_of_the_tests_knows_no_zone(without: dict[str, str]) -> None:
    source = "import zoneinfo\ntry: zoneinfo.ZoneInfo('Europe/Zurich')\nexcept KeyError: print(1)"
    assert run_without(without, source) == "1\n"


@pytest.mark.parametrize("value", [SUMMER, TWICE, TWICE.replace(fold=1), TOKYO, STORED])
def test_what_is_kept_is_written_as_it_came(value: Any) -> None:
    held = from_wire(json.loads(dumps(value)), keep=True)
    assert dumps(held) == dumps(value)
    assert dumps(pickle.loads(pickle.dumps(held))) == dumps(value)
    assert same(loads(dumps(held)), value)


@pytest.mark.parametrize(
    "name", ["", "Nowhere/Land", "../../etc/passwd", "/etc/localtime", "a\0b", "Europe", "a" * 5000]
)
def test_a_name_that_nobody_knows_is_kept_and_looked_for_nowhere(name: str) -> None:
    wire = {TAG: "datetime", "iso": "2024-07-01T12:00:00+02:00", "zone": name}
    value = loads(json.dumps([wire, 1]).encode())
    assert value[1] == 1
    assert value[0] == SUMMER
    assert value[0].tzname() == name
    assert json.loads(dumps(value[0])) == wire


def test_the_offset_of_another_time_is_not_made_up() -> None:
    stored = made(kept(SUMMER, "Europe/Nowhere"))
    assert (stored - timedelta(0)).utcoffset() == timedelta(hours=2)
    moved = stored + timedelta(days=180)
    with pytest.raises(ValueError, match="'Europe/Nowhere' at another time is not known here"):
        moved.astimezone(UTC)
    assert json.loads(dumps(moved)) == {
        TAG: "datetime",
        "iso": "2024-12-28T12:00:00",
        "zone": "Europe/Nowhere",
    }


# --- what a server does with it --------------------------------------------------------------


def test_operations_take_the_offsets_and_not_the_rules(engine: Engine) -> None:
    engine.put("at", SUMMER)
    assert engine.call("timestamp", at=("at",)) == SUMMER.timestamp()
    assert engine.call("__eq__", SUMMER.astimezone(UTC), at=("at",)) is True
    assert engine.call("__lt__", WINTER, at=("at",)) is True
    assert engine.call("__sub__", WINTER, at=("at",)) == SUMMER - WINTER
    assert engine.call("isoformat", at=("at",)) == SUMMER.isoformat()
    engine.call("__iadd__", timedelta(days=180), at=("at",))
    moved = SUMMER + timedelta(days=180)
    assert same(engine.tree["at"], moved)
    assert engine.call("__gt__", SUMMER, at=("at",)) is True
    assert engine.call("__sub__", SUMMER, at=("at",)) == timedelta(days=180)
    with pytest.raises(PathTypeError, match="offset-naive and offset-aware"):
        engine.call("timestamp", at=("at",))
    engine.put("list", [WINTER, SUMMER, TWICE.replace(fold=1), TWICE])
    engine.call("sort", at=("list",))
    engine.call("remove", WINTER, at=("list",))
    expected = [SUMMER, TWICE, TWICE.replace(fold=1)]
    assert same(engine.tree["list"], expected)
    engine.restart()
    assert same(engine.tree, {"at": moved, "list": expected})


def test_a_replay_elsewhere_comes_to_the_same(tmp_path: Path, without: dict[str, str]) -> None:
    engine = Engine(FileStore(tmp_path / "db.pkl"), tmp_path / "db.pkl")
    engine.put("all", STORED)
    engine.put("list", [WINTER, SUMMER, TWICE])
    engine.save()
    engine.batch(
        Command(("list",), "sort"),
        Command(("list", 0), "__iadd__", (timedelta(hours=1),)),
        Command(("all", "keys"), "__delitem__", (SUMMER,)),
        Command(("all", "keys"), "setdefault", (WINTER, [SUMMER])),
    )
    engine.call("undo")
    engine.call("redo")
    here = repr(engine.db.state())
    engine.store.close()
    source = (
        "import sys\nfrom pyzdb.engine.database import Database\n"
        "from pyzdb.storage.file_store import FileStore\n"
        "db = Database(FileStore(sys.argv[1]))\ndb.open()\nprint(repr(db.state()))"
    )
    assert run_without(without, source, str(tmp_path / "db.pkl")).strip() == here


class _OldPickler(pickle.Pickler):
    """How zones were pickled before: by name, to be looked up."""

    def reducer_override(self, obj: Any) -> Any:
        return (ZoneInfo, (obj.key,)) if type(obj) is ZoneInfo else NotImplemented


def test_an_older_snapshot_is_read_where_the_zone_is_not_known(
    tmp_path: Path, without: dict[str, str]
) -> None:
    file = io.BytesIO()
    _OldPickler(file, 5).dump(STORED)
    value = load_state(io.BytesIO(file.getvalue()))
    assert type(value["one"].tzinfo) is timezone
    assert value["one"].utcoffset() == timedelta(hours=2)
    assert same(loads(dumps(value)), STORED)
    path = tmp_path / "old"
    path.write_bytes(file.getvalue())
    source = (
        "import sys\nfrom pyzdb.storage.snapshot import load_state\n"
        "from pyzdb.values.tags import dumps\n"
        "print(dumps(load_state(open(sys.argv[1], 'rb'))).decode())"
    )
    there = run_without({**without, "PYTHONWARNINGS": "ignore"}, source, str(path))
    assert same(loads(there.encode()), STORED)


def test_a_fixed_offset_of_a_users_own_is_no_zone() -> None:
    value = SUMMER.replace(tzinfo=timezone(timedelta(hours=1), "CET"))
    assert loads(dumps(value)).tzinfo == timezone(timedelta(hours=1))
    assert "zone" not in json.loads(dumps(value))


# --- from end to end -------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, without: dict[str, str]) -> Iterator[Server]:
    with in_vain(without, Server(tmp_path)) as running:
        yield running


def test_servers_and_clients_that_know_no_zones_carry_them(
    server: Server, tmp_path: Path, without: dict[str, str]
) -> None:
    db, connection = client(server.write_uri)
    with connection:
        db["all"] = STORED
        db["all"]["keys"][WINTER] = SUMMER
        db.undo()
        server.kill()
        server.start()
        assert same(db["all"]._run(), STORED)
        db.save()
        db["again"] = SUMMER
        server.kill()
        server.start()
        assert same(db._run(), {"all": STORED, "again": SUMMER})
        with in_vain(without, Server(tmp_path, writer=server)):
            source = (
                "import sys\nfrom pyzdb.client import client\n"
                "db, connection = client(*sys.argv[1:])\n"
                "with connection:\n"
                "    tree = db._run()\n"
                "    assert tree['all']['plain'] == 3\n"
                "    print(tree['again'].isoformat(), tree['again'].tzinfo)\n"
                "    db['copied'] = tree['all']\n"
            )
            reader, other = client(server.write_uri, server.read_uri)
            with other:
                wait_until(lambda: reader.get("again") == SUMMER)
                assert same(reader["all"]._run(), STORED)
            told = run_without(without, source, server.write_uri, server.read_uri)
        assert told == "2024-07-01T12:00:00+02:00 Zone('Europe/Zurich')\n"
        assert same(db["copied"]._run(), STORED)

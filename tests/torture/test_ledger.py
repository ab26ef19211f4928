"""The ledger: what it finds wrong with a database that was recovered."""

from __future__ import annotations

from typing import Any

import pytest

from pyzdb.engine.database import Database
from pyzdb.protocol.requests import Write, encode_request
from pyzdb.storage.memory import MemoryStore
from pyzdb.values import File
from tests.torture.ledger import Ledger, lost_file
from tests.torture.memory import MemoryDisk


@pytest.fixture
def database() -> Database:
    with_records = Database(MemoryStore())
    with_records.open()
    return with_records


def ask(database: Database, func: str, *args: Any, client: str = "a", number: int = 0) -> None:
    request = Write((), func, args, client=client, number=number, version=2)
    database.handle(encode_request(request))


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """It knows a database with two records, of which the first is acknowledged."""
    ledger = Ledger()
    ask(database, "__setitem__", "x", 1, number=1)
    ledger.note(database)
    ledger.acknowledged = database.sequence
    ask(database, "__setitem__", "y", 2, number=2)
    ledger.note(database)
    return ledger


def again(*values: tuple[str, Any]) -> Database:
    """Another database to which the same client has written ``values``."""
    database = Database(MemoryStore(), clock=lambda: 0.0)
    database.open()
    for number, (key, value) in enumerate(values, 1):
        ask(database, "__setitem__", key, value, number=number)
    return database


def test_a_database_is_as_it_was(database: Database, ledger: Ledger) -> None:
    assert ledger.fault(database) is None


def test_a_lost_record_is_a_fault_when_it_was_acknowledged(ledger: Ledger) -> None:
    assert "1 was acknowledged" in str(ledger.fault(again()))


def test_a_record_too_many_is_a_fault(database: Database, ledger: Ledger) -> None:
    ask(database, "__setitem__", "z", 3)
    assert "never written" in str(ledger.fault(database))


def test_another_value_is_a_fault(database: Database, ledger: Ledger) -> None:
    database.tree.root["x"] = 1.0
    assert "another one" in str(ledger.fault(database))


def test_another_order_of_keys_is_a_fault(database: Database, ledger: Ledger) -> None:
    database.tree.root["x"] = database.tree.root.pop("x")
    assert "another one" in str(ledger.fault(database))


def test_a_forgotten_step_is_a_fault(database: Database, ledger: Ledger) -> None:
    database.history.limit = 1
    database.history.trim()
    assert "history" in str(ledger.fault(database))


def test_a_forgotten_answer_is_a_fault(database: Database, ledger: Ledger) -> None:
    state = database.state()
    state["answers"] = {"known": {}, "forgotten": 0}
    database.load(state, database.sequence)
    assert "the answer to a" in str(ledger.fault(database))


def test_what_failed_may_be_forgotten(database: Database, ledger: Ledger) -> None:
    kept = database.state()
    kept["answers"]["known"] = dict(kept["answers"]["known"])
    ask(database, "pop", "not there", number=3)
    ledger.note(database)
    database.load(kept, database.sequence)
    assert ledger.fault(database) is None


def test_a_tree_that_counts_as_plain_and_is_not_is_a_fault(
    database: Database, ledger: Ledger
) -> None:
    request = Write((), "__setitem__", ("t", (1, 2)), version=2)
    database.handle(encode_request(request))
    ledger.note(database)
    assert ledger.fault(database) is None
    database.tree.plain = True
    assert "plain" in str(ledger.fault(database))


def test_a_large_file_that_is_gone_or_another_one_is_found(database: Database) -> None:
    disk = MemoryDisk()
    database.tree.root["file"] = [File("/files/1-name", "name")]
    assert lost_file(disk, database) == "1-name"
    disk.put("/files/1-name", b"something else")
    assert lost_file(disk, database) == "1-name"
    disk.put("/files/1-name", b"name" * 100)
    assert lost_file(disk, database) is None

"""Servers as processes, and what may stand between them and their clients."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pyzdb.client import client
from tests.torture.middle import Middle
from tests.torture.processes import PORTS, Server, ServerEnded, free_uris


def test_a_killed_server_comes_back_with_what_it_had(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.start()
        server.wait_until_ready()
        db, connection = client(server.write_uri)
        with connection:
            db["x"] = 3
            server.restart()
            assert db["x"]._run() == 3
        server.stop()
    assert server.kills == 1


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Server(tmp_path, "--fsync", "sometimes") as server:
        server.start()
        with pytest.raises(ServerEnded, match="status 2") as ended:
            server.wait_until_ready()
    assert "'sometimes'" in str(ended.value)


def test_what_stands_between_passes_everything_on(tmp_path: Path) -> None:
    with Server(tmp_path) as server, Middle(server.write_uri) as middle:
        server.start()
        db, connection = client(middle.uri)
        with connection:
            db["x"] = [1, 2]
            db["x"].append(3)
            assert db["x"]._run() == [1, 2, 3]
        server.stop()


def test_addresses_are_different_and_no_outgoing_connection_gets_their_ports() -> None:
    uris = free_uris(5)
    assert len(set(uris)) == 5
    assert all(int(uri.rpartition(":")[2]) in PORTS for uri in uris)


def test_processes_whose_chance_has_the_same_seed_get_addresses_of_their_own() -> None:
    before = random.getstate()
    try:
        random.seed(0)
        one = free_uris(4)
        random.seed(0)
        assert not set(one) & set(free_uris(4))
    finally:
        random.setstate(before)

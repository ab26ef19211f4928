"""Batches: what is collected, what is sent at once, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyzdb.errors import (
    PathIndexError,
)
from tests.unit.proxy.conftest import Service


def test_a_batch_is_one_message_at_its_end(db: Any, service: Service) -> None:
    db["l"] = [1]
    service.sent.clear()
    with db.batch() as batch:
        batch["x"] = 3
        batch["x"] += 1
        batch["l"].append(4)
        del batch["l"][0]
        x = batch["x"]._run()
        popped = batch["l"].pop()
        is_four = batch["x"] == 4
        assert service.sent == []
    assert len(service.sent) == 1
    assert (x.value, popped.value, is_four.value) == (4, 4, True)
    assert repr(x) == "<result 4>"
    assert db._run() == {"l": [], "x": 4}
    db.undo()
    assert db._run() == {"l": [1]}


def test_a_result_that_is_none_is_known(db: Any) -> None:
    with db.batch() as batch:
        done = batch.update({"x": None})
        nothing = batch["x"]._run()
    assert (done.value, nothing.value) == (None, None)


def test_a_result_that_is_taken_for_its_value_says_what_to_ask_for(db: Any) -> None:
    with db.batch() as batch:
        batch["x"] = 1
        x = batch["x"]._run()
    with pytest.raises(RuntimeError, match=r"ask for \.value"):
        _ = x + 1
    assert x.value + 1 == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda result: result.value,
        bool,
        len,
        list,
        int,
        lambda result: result + 1,
        lambda result: 1 + result,
        lambda result: result - 1,
        lambda result: result == 1,
        lambda result: result != 1,
        lambda result: result < 1,
        lambda result: 1 in result,
        lambda result: result[0],
        lambda result: "yes" if result else "no",
        lambda result: range(result),
    ],
)
def test_a_result_that_is_used_in_the_block_is_an_error_that_says_why(
    db: Any, service: Service, use: Callable[[Any], Any]
) -> None:
    results = []

    def fill() -> None:
        with db.batch() as batch:
            results.append(batch["x"]._run())
            use(results[0])

    with pytest.raises(RuntimeError, match="not known before the block has ended"):
        fill()
    assert service.sent == []
    assert "not known" in repr(results[0])


@pytest.mark.parametrize(
    "use",
    [
        lambda batch: list(batch["l"]),
        lambda batch: len(batch),
        lambda batch: "x" in batch,
        lambda batch: bool(batch["x"]),
        lambda batch: int(batch["x"]),
        lambda batch: 1 if batch["x"] == 1 else 2,
        lambda batch: batch.__setitem__("y", batch["x"]._run()),
        lambda batch: batch.__setitem__("y", batch["x"]),
    ],
)
def test_a_batch_cannot_look_at_the_tree(
    db: Any, service: Service, use: Callable[[Any], Any]
) -> None:
    with pytest.raises(RuntimeError, match="batch"), db.batch() as batch:
        use(batch)
    assert service.sent == []


def test_a_path_outside_is_fetched_for_a_batch(db: Any) -> None:
    db["x"] = [1]
    with db.batch() as batch:
        batch["x"].append(2)
        batch["y"] = db["x"]
    assert db._run() == {"x": [1, 2], "y": [1]}


def test_a_block_that_raises_sends_nothing(db: Any, service: Service) -> None:
    results = []

    def fill() -> None:
        with db.batch() as batch:
            results.append(batch["x"].append(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert service.sent == []
    with pytest.raises(RuntimeError):
        _ = results[0].value


def test_a_batch_that_fails_names_the_command_and_does_nothing(db: Any) -> None:
    db["l"] = [1]
    results = []

    def fill() -> None:
        with db.batch() as batch:
            batch["l"].append(2)
            results.append(batch["l"][7]._run())
            batch["l"].clear()

    with pytest.raises(PathIndexError, match="command 1: ") as caught:
        fill()
    assert (caught.value.command, caught.value.path) == (1, ("l", 7))
    assert db._run() == {"l": [1]}
    with pytest.raises(RuntimeError):
        _ = results[0].value


def test_a_batch_of_nothing_sends_nothing(db: Any, service: Service) -> None:
    with db.batch():
        pass
    assert service.sent == []


def test_one_batch_within_another_is_on_its_own(db: Any, service: Service) -> None:
    with db.batch() as outer:
        outer["x"] = 1
        with db.batch() as inner:
            inner["y"] = 2
        outer["z"] = 3
    assert service.sent == [["__setitem__"], ["__setitem__"] * 2]
    assert list(db) == ["y", "x", "z"]


def test_a_batch_has_one_block(db: Any, service: Service) -> None:
    batch = db.batch()
    with pytest.raises(RuntimeError, match="one `with` block"):
        batch["x"] = 1
    with batch:
        batch["x"] = 1
        with pytest.raises(RuntimeError, match="one `with` block"), batch:
            pass
        batch["y"] = 1
    for again in (lambda: batch.update({"z": 1}), batch.__enter__):
        with pytest.raises(RuntimeError, match="one `with` block"):
            again()
    assert service.sent == [["__setitem__"] * 2]


@pytest.mark.parametrize("name", ["undo", "redo", "save", "history", "lock", "unlock", "batch"])
def test_a_batch_has_no_functions_of_the_whole_tree(db: Any, name: str) -> None:
    with db.batch() as batch, pytest.raises(AttributeError):
        getattr(batch, name)

"""A save without a child: done when it has begun, with the same interface."""

from __future__ import annotations

import logging
import os
import select
from pathlib import Path

import pytest

from pyzdb.storage.file_store import FileStore
from pyzdb.storage.saver import InlineSave


def fail(reason: str) -> None:
    raise ValueError(reason)


def test_a_save_without_a_child_is_over_when_it_has_begun(
    own: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        saving = InlineSave(lambda: os.truncate(own, 5), own)
    assert os.fstat(own).st_size == 5
    assert select.select([saving.fd], [], [], 0)[0]
    assert not saving.is_over(0.0)
    assert saving.result() is None
    assert "nobody was served for 0." in caplog.text


def test_a_save_without_a_child_that_fails_says_why(own: int) -> None:
    saving = InlineSave(lambda: fail("no room"), own)
    assert saving.result() == "ValueError: no room"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(saving.fd)


def test_a_save_without_a_child_that_another_one_replaces_is_not_done(own: int) -> None:
    saving = InlineSave(lambda: None, own)
    saving.kill("another save takes its place")
    assert saving.result() == "another save takes its place"


def test_a_store_saves_and_fails_without_a_child(tmp_path: Path) -> None:
    path = str(tmp_path / "db.pkl")
    store = FileStore(path, saver=InlineSave)
    store.open()
    store.append(b"one")
    store.flush()
    store.start_save(lambda: {"tree": [1]})
    assert store.save_fd is not None
    assert select.select([store.save_fd], [], [], 0)[0]
    assert not store.poll_save(0.0)
    assert store.finish_save() is None
    store.start_save(lambda: {"tree": [object()]})
    assert "was not saved" in str(store.finish_save())
    store.start_save(lambda: {"tree": [2]})
    store.save(lambda: {"tree": [3]})  # in the place of the one before
    store.close()
    assert sorted(os.listdir(tmp_path))[0] == "db.pkl"
    assert not os.path.exists(f"{path}.new")
    again = FileStore(path)
    assert again.open().state == {"tree": [3]}
    again.close()

"""What the tests of a store do with one: write, read everything, wait for a save."""

from __future__ import annotations

import os
import select
from typing import Any

from pyzdb.storage.store import Recovered, Store

LIMIT = 30.0
"""Seconds that a test waits for a save."""


def write(store: Store, *bodies: bytes) -> None:
    """Append records and make them durable."""
    for body in bodies:
        store.reserve(len(body))
        store.append(body)
    store.flush()


def whole(opened: Recovered) -> list[Any]:
    """All bodies that a store was given: those that were saved are in the tree."""
    saved = (opened.state or {"tree": []})["tree"]
    return [*saved, *(body for _, body in opened.records)]


def wait(store: Store) -> str | None:
    """Wait for the running save: None, or why it failed."""
    assert store.save_fd is not None
    assert select.select([store.save_fd], [], [], LIMIT)[0]
    return store.finish_save()


def names(path: str) -> list[str]:
    """What lies in the folder of a database."""
    return sorted(os.listdir(os.path.dirname(path)))

"""What the tests of the storage share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def own(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file that a save works on."""
    fd = os.open(tmp_path / "own", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)

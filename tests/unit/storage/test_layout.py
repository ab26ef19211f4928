"""The names of a database's files, and that nobody else makes one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyzdb
from pyzdb.storage.layout import FILES_FOLDER, Layout, broken, is_part_of

LAYOUT = Layout("/srv/db.pkl")

SUFFIX = re.compile(r"\.(new|journal|lock|synced|original|rescued|broken)(?![\w(])")
"""The end of a name, and not a call of a function of that name."""


def test_every_name_lies_beside_the_snapshot() -> None:
    assert LAYOUT.folder == "/srv"
    assert LAYOUT.snapshot_aside == "/srv/db.pkl.new"
    assert LAYOUT.part(12) == "/srv/db.pkl.journal-000000000012"
    assert LAYOUT.part_aside == "/srv/db.pkl.journal-new"
    assert LAYOUT.all_parts == "/srv/db.pkl.journal-*"
    assert LAYOUT.lock == "/srv/db.pkl.lock"
    assert LAYOUT.synced == "/srv/db.pkl.synced"
    assert LAYOUT.original == "/srv/db.pkl.original"
    assert LAYOUT.rescued == "/srv/db.pkl.rescued"
    assert LAYOUT.large_files == "/srv/bigfiles"
    assert broken(LAYOUT.part(1)) == "/srv/db.pkl.journal-000000000001.broken"


@pytest.mark.parametrize("first", [1, 12, 999_999_999_999, 1_000_000_000_000])
def test_the_name_of_a_part_says_which_record_is_its_first(first: int) -> None:
    assert LAYOUT.first_of(LAYOUT.part(first)) == first
    assert is_part_of(LAYOUT.part(first), first)
    assert not is_part_of(LAYOUT.part(first), first + 1)


@pytest.mark.parametrize(
    "path",
    [
        LAYOUT.filename,
        LAYOUT.part_aside,
        broken(LAYOUT.part(1)),
        Layout("/srv/other.pkl").part(1),
        "/srv/db.pkl.journal-1",
        "/srv/db.pkl.journal-00000000000\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_other_files_are_not_taken_for_parts(path: str) -> None:
    assert LAYOUT.first_of(path) is None


def texts(source: str) -> Iterator[str]:
    """Every text in a program that is not a docstring."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def names_in(source: str) -> list[str]:
    """The names of files of a database that a program makes itself."""
    return [text for text in texts(source) if text == FILES_FOLDER or SUFFIX.search(text)]


def test_a_name_that_is_made_elsewhere_is_found() -> None:
    planted = (
        '"""The lock is db.pkl.lock."""\n'
        'path = f"{filename}.lock"\n'
        'folder = "bigfiles"\n'
        'error = "call db.lock()"\n'
    )
    assert names_in(planted) == ["bigfiles", ".lock"]


def test_no_other_module_makes_a_name() -> None:
    root = Path(pyzdb.__file__).parent
    modules = [path for path in root.rglob("*.py") if path.name != "layout.py"]
    assert len(modules) > 50
    assert {str(path): found for path in modules if (found := names_in(path.read_text()))} == {}

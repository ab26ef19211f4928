"""Tests plant faults by what they hand in: none of them changes a module or a class of pyzdb.

Python's own modules may be changed, as another system would have them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

CHANGING = frozenset({"setattr", "delattr", "setitem", "delitem"})
"""What pytest's monkeypatch and Python itself have for it."""


def patches(source: str) -> list[str]:
    """Where a test changes what belongs to pyzdb, or could, as a line each."""
    tree = ast.parse(source)
    ours = _names_of_pyzdb(tree)
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.expr) and _is_patch(node, ours)
    ]


def _names_of_pyzdb(tree: ast.AST) -> set[str]:
    """The names under which a module has imported something of pyzdb."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "pyzdb":
            names |= {each.asname or each.name for each in node.names}
        elif isinstance(node, ast.Import):
            names |= {
                each.asname or "pyzdb"
                for each in node.names
                if each.name.partition(".")[0] == "pyzdb"
            }
    return names


def _is_patch(node: ast.AST, ours: set[str]) -> bool:
    match node:
        case ast.ImportFrom(module=str(module)):
            return module == "unittest" or module.startswith("unittest.mock")
        case ast.Import(names=names):
            return any(each.name.startswith("unittest.mock") for each in names)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]):
            return name in CHANGING and (_root(first) in ours or _is_path_to_pyzdb(first))
        case ast.Assign(targets=targets):
            return any(_changes(target, ours) for target in targets)
    return False


def _changes(target: ast.AST, ours: set[str]) -> bool:
    """True for an attribute of a module or class, and for the class of any object."""
    if not isinstance(target, ast.Attribute):
        return False
    return target.attr == "__class__" or (
        isinstance(target.value, ast.Name) and _root(target) in ours
    )


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_path_to_pyzdb(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).startswith("pyzdb.")


def test_no_test_changes_what_belongs_to_pyzdb() -> None:
    found = {
        str(file.relative_to(TESTS)): lines
        for file in sorted(TESTS.rglob("*.py"))
        if (lines := patches(file.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "change",
    [
        "from unittest.mock import patch",
        "import unittest.mock",
        "monkeypatch.setattr(tags, 'REGISTRY', {})",
        "monkeypatch.setattr('pyzdb.values.tags.REGISTRY', {})",
        "monkeypatch.setitem(tags.TAGS, 'x', 1)",
        "setattr(Tree, 'find', None)",
        "Tree.find = None",
        "tags.TAGS = None",
        "tree.__class__ = Other",
    ],
)
def test_a_planted_change_is_noticed(change: str) -> None:
    source = f"from pyzdb.engine.tree import Tree\nfrom pyzdb.values import tags\n\n{change}\n"
    assert [line.partition(":")[0] for line in patches(source)] == ["4"]


@pytest.mark.parametrize(
    "change",
    ["monkeypatch.setattr(os, 'fork', None)", "database.tree.plain = True", "own = Tree()"],
)
def test_what_a_test_may_do_is_not_a_patch(change: str) -> None:
    assert patches(f"import os\nfrom pyzdb.engine.tree import Tree\n{change}\n") == []

"""One word, one meaning: the glossary and the code agree, and what was renamed stays renamed.

Names and texts are read from the source; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyzdb

HOUSE = Path(pyzdb.__file__).parent
ROOT = Path(__file__).parents[2]
DESIGN = ROOT / "docs" / "design.md"

Modules = dict[str, ast.Module]
"""What was parsed, by its path as it is shown."""


def parsed(folder: Path) -> Modules:
    return {
        str(file.relative_to(folder.parent)): ast.parse(file.read_text(), str(file))
        for file in sorted(folder.rglob("*.py"))
    }


@pytest.fixture(scope="module")
def house() -> Modules:
    """All modules of the package."""
    return parsed(HOUSE)


# --- the glossary --------------------------------------------------------------------------------


def glossary() -> dict[str, str]:
    """The words of the glossary, with what each row names in its last column."""
    _, _, table = DESIGN.read_text().partition("\n| word | meaning | where |\n")
    table, _, _ = table.partition("\n\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[1:]]
    assert all(len(row) == 3 for row in rows), "each row has a word, a meaning and a place"
    return {word: where.strip("`") for word, _, where in rows}


def is_there(name: str, house: Modules) -> bool:
    """True for a module of the package, or what one defines: ``engine.tree.Tree``."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        stem = "/".join(["pyzdb", *parts[:count]])
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if file in house:
                return _defines(house[file], parts[count:])
    return False


def _defines(body: ast.AST, names: list[str]) -> bool:
    if not names:
        return True
    return any(
        _defines(node, names[1:])
        for node in ast.iter_child_nodes(body)
        if names[0] in _defined_by(node)
    )


def _defined_by(node: ast.AST) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def test_what_the_glossary_names_is_there(house: Modules) -> None:
    words = glossary()
    assert len(words) > 20
    assert [f"{word}: {where}" for word, where in words.items() if not is_there(where, house)] == []


def test_the_words_of_the_glossary_are_in_order_and_each_stands_once() -> None:
    words = re.findall(r"^\| (.+?) \|", DESIGN.read_text().partition("\n## Glossary\n")[2], re.M)
    assert words[2:] == sorted(set(words[2:]))


def test_a_name_that_is_not_there_is_noticed(house: Modules) -> None:
    for name in ("engine.tree.Tree", "engine.tree.Tree.find", "paths", "values.plain", "errors"):
        assert is_there(name, house), name
    for name in ("engine.tree.Tee", "engine.tree.Tree.fined", "path", "values.plane", ""):
        assert not is_there(name, house), name


# --- names that were given up --------------------------------------------------------------------

CLASSES = {
    "Answers": "ClientTable",
    "Asked": "Envelope",
    "Held": "LockGrant",
    "Holder": "FileLock",
    "Opened": "Recovered",
    "Pair": "UndoRedo",
    "Place": "RecordSpan",
    "Places": "Positions",
    "Planned": "Plan",
    "Responder": "ServerLoop",
    "Saves": "SaveScheduler",
    "Saving": "SaveProcess",
    "Taken": "IngestedFile",
    "_Save": "PendingSnapshot",
}
"""Classes that have another name now."""

OTHERS = {
    "_end_save": "_finish_running",
    "_end_snapshot": "_finish",
    "end_save": "finish_save",
    "save_is_over": "poll_save",
    "ROOM": "PREALLOCATION",
    "_room": "allocated_end",
    "hopeless": "unrepairable",
    "keep_aside": "quarantine",
    "room": "depth_left",
    "take_all": "ingest",
}
"""Functions, arguments, variables and constants that have another name now."""


def given_up(modules: Modules) -> list[str]:
    """Where a name stands that was given up, with the one to take, as a line each."""
    found = []
    for file, module in modules.items():
        for node in ast.walk(module):
            names = _names_in(node)
            found += [
                f"{file}:{line}: {old}: {OTHERS[old]}" for line, old in names if old in OTHERS
            ]
            if isinstance(node, ast.ClassDef) and node.name in CLASSES:
                found.append(f"{file}:{node.lineno}: {node.name}: {CLASSES[node.name]}")
    return found


def _names_in(node: ast.AST) -> list[tuple[int, str]]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [(node.lineno, name)]
        case ast.arg(arg=name) | ast.Name(id=name) | ast.Attribute(attr=name):
            return [(node.lineno, name)]
        case ast.keyword(arg=str(name)):
            return [(node.lineno, name)]
    return []


@pytest.mark.parametrize("folder", [HOUSE, ROOT / "tests"], ids=lambda folder: folder.name)
def test_no_name_is_used_that_was_given_up(folder: Path) -> None:
    assert given_up(parsed(folder)) == []


def test_a_name_that_was_given_up_is_noticed_wherever_it_stands() -> None:
    source = (
        "class Asked:\n  def take_all(self, room): self._room = f(ROOM, keep_aside=self.hopeless)"
    )
    lines = given_up({"a.py": ast.parse(source)})
    assert [line.rpartition(": ")[0].rpartition(" ")[2] for line in lines] == [
        *("Asked", "take_all", "room", "_room", "ROOM", "keep_aside", "hopeless"),
    ]


# --- English -------------------------------------------------------------------------------------

ODD = {
    r"(?<![Tt]here )\b(?:is|are|was|be) no\b(?! (?:longer|more|larger|less|one)\b)": "is not a",
    r"\bthat (?:is|are|was) none\b": "that is not one",
    r"\b(?:is|are) none of\b": "is not one of",
    r"\bdoes not check\b": "fails its checksum",
    r"\bbut once\b": "only once",
    r"\bknows no\b": "does not know",
    r"^The same\b": "what it is, in itself",
    r"\b(?:to|from|for|until|which|[Ww]hat) who\b": "the client that, whoever",
}
"""English that readers stumble over, and what to say instead."""


def texts_of(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Each docstring and text of a module with its line, on one line."""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


def odd_english(modules: Modules) -> list[str]:
    return [
        f"{file}:{line}: {found[0]!r} in {text[:60]!r}: say {better!r}"
        for file, module in modules.items()
        for line, text in texts_of(module)
        for odd, better in ODD.items()
        for found in re.finditer(odd, text)
    ]


def test_texts_and_messages_are_plain_english(house: Modules) -> None:
    assert odd_english(house) == []


@pytest.mark.parametrize(
    "text",
    [
        "this is no reply",
        "anything that is none",
        "the snapshot is none of this version",
        "its header\n    does not check",
        "The same for many",
        "it is done but once",
        "give the lock to who asks for it",
        "a dict knows no places",
    ],
)
def test_odd_english_is_noticed(text: str) -> None:
    assert len(odd_english({"a.py": ast.parse(f"def f():\n    {text!r}\n")})) == 1


@pytest.mark.parametrize(
    "text", ["there is no room", "it is no longer held", "is not a list", "for the same reason"]
)
def test_plain_english_is_not_taken_for_odd(text: str) -> None:
    assert odd_english({"a.py": ast.parse(repr(text))}) == []

"""Who may import whom: the house of docs and code, from the bottom to the top.

An arrow is an import, wherever it stands: at the top of a module, inside a function or under
TYPE_CHECKING. It is read from the source; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import pyzdb

HOUSE = Path(pyzdb.__file__).parent

BELOW: dict[str, str] = {
    "paths": "",
    "errors": "paths",
    "values": "errors paths",
    "operations": "errors paths values",
    "zones": "values",
    "storage": "errors paths values zones",
    "transport": "errors paths",
    "protocol": "errors paths values",
    "proxy": "errors paths values operations protocol",
    "engine": "errors paths values operations protocol proxy storage",
    "client": "errors paths values operations protocol proxy transport",
    "pyzdb": "errors paths values client",
    "server": "errors paths values operations protocol proxy storage transport engine pyzdb zones",
    "cli": "errors paths values operations protocol proxy storage transport engine client pyzdb "
    "server zones",
    "__main__": "cli",
}
"""Each package, module of the top and the top itself (``pyzdb``, the public names and the
version), and what it may import beside itself."""


class Arrow(NamedTuple):
    """An import: the file and line where it stands, and the modules at its two ends."""

    file: str
    line: int
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.source} imports {self.target}"


def sources_of(folder: Path) -> dict[str, str]:
    """The text of each module of a package, by its path from the folder that the package is in."""
    files = sorted(folder.rglob("*.py"))
    return {str(file.relative_to(folder.parent)): file.read_text() for file in files}


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def arrows_of(sources: Mapping[str, str]) -> list[Arrow]:
    """All imports of modules of the house."""
    modules = {module_of(file) for file in sources}
    return [
        Arrow(file, line, module_of(file), target)
        for file, text in sources.items()
        for line, target in _imports(file, ast.parse(text, file), modules)
        if target.partition(".")[0] == "pyzdb"
    ]


def _imports(file: str, tree: ast.AST, modules: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(file, node)
            for name in node.names:
                inner = f"{origin}.{name.name}"
                yield node.lineno, inner if inner in modules else origin
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def _origin(file: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    package = Path(file).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def floor_of(module: str) -> str:
    """The row of BELOW that a module belongs to."""
    return module.removeprefix("pyzdb.").partition(".")[0]


def forbidden(arrows: list[Arrow]) -> list[str]:
    """What the table does not allow, as a line for each arrow."""
    found = []
    for arrow in arrows:
        source, target = floor_of(arrow.source), floor_of(arrow.target)
        if source not in BELOW:
            found.append(f"{arrow.file}:{arrow.line}: {source} is not in the table")
        elif source != target and target not in BELOW[source].split():
            found.append(str(arrow))
    return found


def circles(arrows: list[Arrow]) -> list[str]:
    """The arrows that belong to a circle of modules, as a line each."""
    targets: dict[str, set[str]] = {}
    for arrow in arrows:
        targets.setdefault(arrow.source, set()).add(arrow.target)
    return [str(arrow) for arrow in arrows if arrow.source in _reached(arrow.target, targets)]


def _reached(start: str, targets: Mapping[str, set[str]]) -> set[str]:
    """A module, and all that it imports, directly or through others."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += targets.get(module, ())
    return reached


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The modules of the house as they are."""
    return sources_of(HOUSE)


def test_every_import_of_the_house_is_in_the_table(sources: dict[str, str]) -> None:
    assert forbidden(arrows_of(sources)) == []


def test_no_module_imports_itself_through_others(sources: dict[str, str]) -> None:
    assert circles(arrows_of(sources)) == []


def test_every_module_has_a_row_in_the_table_and_every_row_a_module(
    sources: dict[str, str],
) -> None:
    assert {floor_of(module_of(file)) for file in sources} == set(BELOW)


def test_a_row_names_only_rows_above_it() -> None:
    seen: set[str] = set()
    for row, below in BELOW.items():
        assert set(below.split()) <= seen
        seen.add(row)


def test_the_page_of_the_design_has_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", page, re.M)
    everywhere = {"errors", "paths", "pyzdb"}
    seen: set[str] = set()
    for package, imports in rows:
        named = set(re.findall(r"`(\w+)`", imports))
        allowed = seen - named if imports.startswith("all") else named
        assert allowed - everywhere == set(BELOW[package].split()) - everywhere, package
        seen.add(package)
    assert seen == set(BELOW) - {"pyzdb", "__main__"}


PLANTED = {
    "at the top": "from __future__ import annotations\n\nfrom pyzdb.{} import X\n",
    "whole": "import os\n\nimport pyzdb.{}\n",
    "from the package": "\n\nfrom pyzdb import {}\n",
    "from its own package": "\n\nfrom ..{} import X\n",
    "inside a function": "def f():\n    x = 1\n    import pyzdb.{} as y\n",
    "for types only": "import typing as t\nif t.TYPE_CHECKING:\n    from pyzdb.{} import X\n",
    "by its name": "import importlib\n\nimportlib.import_module('pyzdb.{}')\n",
}
"""An import on line 3, in every form that Python has."""


PACKAGES = {f"pyzdb/{package}/__init__.py": "" for package in ("engine", "storage", "values")}


@pytest.mark.parametrize("form", PLANTED)
@pytest.mark.parametrize(
    ("file", "upward"),
    [("pyzdb/values/types.py", "engine"), ("pyzdb/client/session.py", "storage")],
)
def test_a_planted_arrow_is_told_with_its_file_and_line(form: str, file: str, upward: str) -> None:
    planted = {**PACKAGES, file: PLANTED[form].format(upward)}
    target = f"pyzdb.{upward}"
    assert forbidden(arrows_of(planted)) == [f"{file}:3: {module_of(file)} imports {target}"]


def test_a_planted_circle_within_a_package_is_told_arrow_by_arrow() -> None:
    planted = {
        **PACKAGES,
        "pyzdb/values/one.py": "from pyzdb.values import two\n",
        "pyzdb/values/two.py": "\nfrom pyzdb.values.one import X\n",
        "pyzdb/values/three.py": "import pyzdb.values.one\n",
    }
    assert forbidden(arrows_of(planted)) == []
    assert circles(arrows_of(planted)) == [
        "pyzdb/values/one.py:1: pyzdb.values.one imports pyzdb.values.two",
        "pyzdb/values/two.py:2: pyzdb.values.two imports pyzdb.values.one",
    ]


def test_a_package_that_the_table_does_not_know_is_told() -> None:
    planted = {**PACKAGES, "pyzdb/shed/tools.py": "import pyzdb.paths\n"}
    assert forbidden(arrows_of(planted)) == ["pyzdb/shed/tools.py:1: shed is not in the table"]

"""Type checkers say nothing of what is right in an application, and all of what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
APPLICATION = Path(__file__).with_name("application.py")


@pytest.fixture(params=["mypy", *(["pyright"] if find_spec("pyright") else [])])
def checker(request: pytest.FixtureRequest) -> str:
    """Each of the checkers; pyright, which brings Node along, where it is installed."""
    name: str = request.param
    return name


def check(checker: str, folder: Path, source: str) -> str:
    """What a checker says of an application, where it is strict."""
    file = folder / "application.py"
    file.write_text(source)
    if checker == "mypy":
        (folder / "mypy.ini").write_text(f"[mypy]\nmypy_path = {REPOSITORY}\n")
        arguments = ["mypy", "--strict", "--cache-dir", str(folder / "cache"), str(file)]
    else:
        # One kind of mark does for both: where nothing is wrong, it is an error.
        options = {
            "typeCheckingMode": "standard",
            "reportUnnecessaryTypeIgnoreComment": "error",
            "extraPaths": [str(REPOSITORY)],
        }
        (folder / "pyrightconfig.json").write_text(json.dumps(options))
        arguments = ["pyright", "--pythonpath", sys.executable, "-p", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def test_what_is_right_is_not_an_error_and_what_is_wrong_is(checker: str, tmp_path: Path) -> None:
    assert check(checker, tmp_path, APPLICATION.read_text()) == ""


def test_a_misspelled_function_is_found_in_its_line(checker: str, tmp_path: Path) -> None:
    source = "from pyzdb import client\n\ndb, connection = client()\ndb.undoo()\n"
    said = check(checker, tmp_path, source)
    assert "application.py:4" in said
    assert "undoo" in said
    assert said.count("error:") == 1

"""The example prints what docs/language.md shows."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.iso_codes import DEBIAN_FOLDER, SOURCES
from tests.support.pages import blocks
from tests.support.programs import ROOT, run

COUNTS = {"3166-1": 249, "3166-2": 5127, "639-3": 7910}
"""Records in the files of iso-codes 4.15."""


def made_records(name: str, known: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Records that are known, and as many others as there are in the file of that name."""
    more = range(COUNTS[name] - len(known))
    return known + [{key: f"x{n}", "name": f"name {n}", "code": f"x{n}", "type": "L"} for n in more]


def made_folder(folder: Path) -> Path:
    """Files like those of iso-codes, with all that the example asks for."""
    countries = {"CH": "Switzerland", "BE": "Belgium", "ZM": "Zambia", "ZW": "Zimbabwe"}
    cantons = (
        "Capellen, Clerf, Diekirch, Echternach, Esch an der Alzette, Grevenmacher, Luxembourg, "
        "Mersch, Redange, Remich, Veianen, Wiltz"
    )
    languages = {"deu": "German", "fra": "French", "ita": "Italian", "roh": "Romansh"}
    known = {
        "3166-1": [{"alpha_2": code, "name": name} for code, name in countries.items()],
        "3166-2": [
            {"code": f"LU-{number}", "name": name}
            for number, name in enumerate(cantons.split(", "))
        ],
        "639-3": [
            *({"alpha_3": code, "name": name, "type": "L"} for code, name in languages.items()),
            {"alpha_3": "epo", "name": "Esperanto", "type": "C"},
            *({"alpha_3": f"c{number}", "name": "made", "type": "C"} for number in range(22)),
        ],
    }
    for filename, name, key, _ in SOURCES:
        records = made_records(name, known[name], key)
        (folder / filename).write_text(json.dumps({name: records}), encoding="utf-8")
    return folder


@pytest.fixture(params=["made", *(["Debian's"] if DEBIAN_FOLDER.is_dir() else [])])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of data for the example: made here, and Debian's where the package is installed."""
    return made_folder(tmp_path) if request.param == "made" else DEBIAN_FOLDER


def test_the_example_prints_what_is_shown(data: Path) -> None:
    done = run([sys.executable, str(ROOT / "examples" / "iso_codes.py"), str(data)])
    assert done.returncode == 0
    [shown] = [
        block.text
        for block in blocks("docs/language.md")
        if (block.heading, block.language) == ("A larger example", "text")
    ]
    if data == DEBIAN_FOLDER:
        # Another version of the package has other numbers of records.
        assert re.sub(r"\d{2,}", "n", done.stdout) == re.sub(r"\d{2,}", "n", shown)
    else:
        assert done.stdout == shown

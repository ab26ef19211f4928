"""The short form of `python -m tests.torture histories`, and a fault that it has to find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.torture.histories import main


def test_histories_are_linearizable_and_planted_faults_are_noticed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--short"]) == 0
    assert "3 of 3 planted faults noticed, 0 violations" in capsys.readouterr().out


def test_a_history_with_a_violation_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--histories", "1", "--operations", "800", "--kills", "1", "--seed", "1"]
    assert main([*arguments, "--plant", "double-write"]) == 1
    said = capsys.readouterr()
    assert "nothing explains Operation" in said.err
    folder = Path(said.err.split()[-1])
    lines = (folder / "history 0.json").read_text().splitlines()
    assert {"write", "add", "append", "pop", "read"} == {
        json.loads(line)["action"] for line in lines
    }
    shutil.rmtree(folder)

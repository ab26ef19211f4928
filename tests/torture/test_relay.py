"""The short form of `python -m tests.torture relay`, and the faults that it has to find."""

from __future__ import annotations

import shutil

import pytest

from tests.torture.relay import main


def test_counts_are_exact_when_messages_are_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--short"]) == 0
    assert "8 clients, 960 writes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "seen"),
    [("lost-write", "lost: ["), ("double-write", "done again: ["), ("second-run", "and later")],
)
def test_a_planted_fault_is_found(
    fault: str, seen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--appends", "25", "--kills", "1", "--seed", "1", "--plant", fault]) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert seen in said.err
    shutil.rmtree(said.err.split()[-1])

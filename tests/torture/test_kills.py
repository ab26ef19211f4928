"""The short form of `python -m tests.torture kills`, and the faults that it has to find."""

from __future__ import annotations

import shutil

import pytest

from tests.torture.kills import main


@pytest.mark.timeout(240)  # a busy machine starts a few servers a second
def test_nothing_acknowledged_is_lost_or_doubled_by_kills(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--short"]) == 0
    assert "200 kills" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "seen"),
    [("lost-write", "acknowledged and lost"), ("double-write", "done more than once")],
)
def test_a_planted_fault_is_found(
    fault: str, seen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--kills", "5", "--seed", "1", "--plant", fault]) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert seen in said.err
    shutil.rmtree(said.err.split()[-1])

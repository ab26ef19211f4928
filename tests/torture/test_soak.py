"""The short form of `python -m tests.torture soak`, and the faults that it has to find."""

from __future__ import annotations

import shutil

import pytest

from tests.torture.soak import main


@pytest.mark.timeout(300)
def test_nothing_grows_and_every_tree_equals_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--short"]) == 0
    assert " 4 kills" in capsys.readouterr().out


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("fault", "seen"), [("lost-write", "VIOLATION"), ("leak", "of the clients grew by")]
)
def test_a_planted_fault_is_found(
    fault: str, seen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--short", "--seconds", "8", "--kills", "0", "--plant", fault]) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert seen in said.err
    shutil.rmtree(said.err.split()[-1])

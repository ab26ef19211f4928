"""The short form of `python -m tests.torture silence`, and the faults that it has to find."""

from __future__ import annotations

import shutil

import pytest

from tests.torture.silence import main


@pytest.mark.timeout(240)
def test_every_write_is_answered_and_done_once_though_connections_fall_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--short"]) == 0
    assert " 4 silences" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["lost-write", "double-write"])
def test_a_planted_fault_is_found(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--silences", "0", "--clients", "2", "--writes", "100", "--plant", fault]) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert " gave " in said.err
    shutil.rmtree(said.err.split()[-1])

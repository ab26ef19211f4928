"""The short form of `python -m tests.torture locks`, and a fault that it has to find."""

from __future__ import annotations

import shutil

import pytest

from tests.torture.locks import main


def test_a_lock_is_free_after_its_lease_and_its_holder_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--short"]) == 0
    assert "0 late writes accepted, 0 violations" in capsys.readouterr().out


def test_a_late_write_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--kills", "0", "--stops", "1", "--restarts", "0", "--seed", "1"]
    arguments += ["--plant", "late-write"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "late writes were accepted" in said.err
    shutil.rmtree(said.err.split()[-1])


def test_a_lease_that_begins_anew_at_a_restart_is_noticed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--kills", "0", "--stops", "0", "--restarts", "1", "--plant", "full-lease"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "the lock was free after" in said.err
    shutil.rmtree(said.err.split()[-1])

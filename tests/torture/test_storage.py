"""The torture tests of the storage, in forms so short that they run with every change: each passes,
and each finds the faults that can be planted in it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.torture import cuts, equal, failpoints, faults, flips, full, moves, power, syncs

pytestmark = pytest.mark.untraced

SHORT: dict[ModuleType, tuple[str, ...]] = {
    cuts: ("--last", "0", "--places", "60"),
    equal: ("--runs", "5", "--steps", "20"),
    failpoints: ("--kills", "1", "--phase", "an append that needs room"),
    faults: ("--requests", "8", "--points", "40"),
    flips: ("--flips", "100"),
    full: ("--times", "2"),
    moves: ("--times", "1"),
    power: ("--images", "300"),
    syncs: ("--syncs", "2"),
}

PLANTED: list[tuple[ModuleType, str, tuple[str, ...]]] = [
    (cuts, "no-checksum", ("--last", "0", "--places", "30")),
    (equal, "skip-undo", ("--short", "--steps", "30")),
    (equal, "more-history", ("--short",)),
    (failpoints, "two-step-rename", ("--kills", "1", "--phase", "a save")),
    (failpoints, "early-answer", ("--kills", "1", "--phase", "an append")),
    (faults, "goes-on", ("--requests", "3", "--points", "40")),
    (faults, "keeps-change", ("--requests", "8", "--points", "150")),
    (flips, "no-checksum", ("--flips", "100")),
    (full, "full-ignored", ("--times", "1")),
    (moves, "blind", ("--times", "1")),
    (power, "no-sync", ("--images", "100")),
    (power, "no-folder-sync", ("--images", "100")),
    (power, "late-sync", ("--images", "1500")),
    (power, "hasty-reader", ("--images", "100")),
    (syncs, "sync-ignored", ("--syncs", "2")),
]


@pytest.mark.timeout(240)  # some follow every step of the program, slowly on a busy machine
@pytest.mark.parametrize("test", SHORT, ids=lambda test: test.__name__)
def test_nothing_is_lost(test: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert test.main([*SHORT[test], "--seed", "1"]) == 0
    assert "passed" in capsys.readouterr().out


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("test", "fault", "counts"), PLANTED)
def test_a_planted_fault_is_found(
    test: ModuleType,
    fault: str,
    counts: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the files are kept there
    assert test.main([*counts, "--plant", fault, "--seed", "1"]) == 1
    assert "VIOLATION" in capsys.readouterr().err

"""The benchmarks run: what they measure is never a test, that they measure everything is one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import benchmarks
from benchmarks.measuring import MILLISECONDS, QUICK, REQUESTS, Goal, Result, Setup, Unit
from benchmarks.report import is_ours, outcome, read_json, wanted
from benchmarks.scratch import MEMORY, file_system, scratch_folder

ROOT = Path(__file__).parents[2]
NAMES = list(benchmarks(Setup(QUICK, Path())))

LIMIT = 110.0
"""Seconds that a quick run may take on a machine that does much else."""


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a run."""
    with start(*arguments, **environment) as process:
        try:
            output, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
        return process.returncode, output, errors


def processes_that_name(text: str) -> list[str]:
    """The command lines of the processes of this machine that hold a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if text in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def quick_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of one quick run of everything."""
    folder = tmp_path_factory.mktemp("benchmarks")
    file = folder / "run.json"
    _, _, errors = run("--quick", "--rounds", "1", "--json", str(file), TMPDIR=str(folder))
    assert file.exists(), errors
    assert list(folder.iterdir()) == [file]
    assert processes_that_name(str(folder)) == []
    return file


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_a_figure_of_pyzdb_and_of_each_peer_that_is_installed(
    quick_file: Path, name: str
) -> None:
    [result] = [result for result in read_json(quick_file).results if result.name == name]
    assert result.failed == {}
    assert set(result.figures) == set(result.labels) - set(result.missing)
    assert all(figure > 0 for figures in result.figures.values() for figure in figures)
    ours = [label for label in result.labels if is_ours(label)]
    assert ours
    assert set(ours) <= set(result.figures)
    for goal in result.goals:
        assert {goal.figure, *goal.beside} <= set(result.labels)


def test_a_run_is_shown_and_drawn_from_its_file(quick_file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "run.svg"
    status, output, _ = run("--from", str(quick_file), "--plot", str(picture))
    assert status == 0
    drawn = [element.text or "" for element in ElementTree.parse(picture).iter()]
    for name in NAMES:
        assert re.search(f"^{name}: ", output, re.MULTILINE)
        assert any(text.startswith(f"{name}: ") for text in drawn)
    goals = sum(len(result.goals) for result in read_json(quick_file).results)
    assert sum(map(int, re.findall(r"\d+", output.splitlines()[-1]))) == goals


def test_a_missing_peer_is_named(tmp_path: Path) -> None:
    (tmp_path / "rpyc.py").write_text("raise ImportError('no rpyc here')")
    status, output, errors = run(
        "set-1", "remote-get", "--quick", "--rounds", "1", PYTHONPATH=str(tmp_path), PATH=""
    )
    missing = [line for line in output.splitlines() if "MISSING" in line]
    assert any("redis-py" in line and "install" in line for line in missing), errors
    assert any("RPyC" in line and "no rpyc here" in line for line in missing)
    assert "goal: pyzdb ahead of RPyC: NOT MEASURED" in output
    assert status == 0


def test_when_one_contender_fails_the_others_go_on_and_the_exit_status_is_1(
    tmp_path: Path,
) -> None:
    (tmp_path / "rpyc.py").write_text("raise RuntimeError('this package is broken')")
    status, output, _ = run("remote-get", "--quick", "--rounds", "1", PYTHONPATH=str(tmp_path))
    assert re.search(
        r"^  RPyC +FAILED +RuntimeError: this package is broken$", output, re.MULTILINE
    )
    assert re.search(r"^  Manager, Unix socket +[\d.,]+ ", output, re.MULTILINE)
    assert status == 1


def test_an_interrupt_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    with start("growth-clients", "--rounds", "1000", TMPDIR=str(tmp_path)) as process:
        until = time.monotonic() + LIMIT
        while not processes_that_name(f"{tmp_path}/pyzdb-benchmarks-"):
            assert process.poll() is None
            assert time.monotonic() < until
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert processes_that_name(str(tmp_path)) == []


def test_a_name_that_is_no_benchmark_is_refused() -> None:
    status, _, errors = run("read-2")
    assert status == 2
    assert "no benchmark read-2" in errors


def result_of(unit: Unit, goal: Goal, **medians: float) -> Result:
    figures = {label: [median] for label, median in medians.items()}
    return Result("name", "title", unit, list(figures), [goal], figures)


@pytest.mark.parametrize(
    ("unit", "goal", "medians", "text"),
    [
        (
            REQUESTS,
            Goal("ours", ("theirs",), 0.85),
            {"ours": 90, "theirs": 100},
            "ours at least 0.85 of theirs: 0.90 of it, reached",
        ),
        (
            REQUESTS,
            Goal("ours", ("theirs",)),
            {"ours": 90, "theirs": 100},
            "ours ahead of theirs: 0.90 of it, NOT REACHED",
        ),
        (
            REQUESTS,
            Goal("ours", ("ours", "other"), 0.8),
            {"ours": 90, "other": 100},
            "ours at least 0.8 of the best: 0.90 of it, reached",
        ),
        (
            MILLISECONDS,
            Goal("ours", ("theirs",), plus=20),
            {"ours": 31, "theirs": 10},
            "ours at most 20.0 ms more than theirs: 21.0 more, NOT REACHED",
        ),
        (
            MILLISECONDS,
            Goal("ours", ("theirs",), 1.3),
            {"ours": 12, "theirs": 10},
            "ours at most 1.3 of theirs: 1.20 of it, reached",
        ),
        (MILLISECONDS, Goal("ours", plus=20), {"ours": 12}, "ours at most 20.0 ms: 12.0, reached"),
        (
            MILLISECONDS,
            Goal("ours", ("theirs",), 1.3),
            {"ours": 12},
            "ours at most 1.3 of theirs: NOT MEASURED",
        ),
    ],
)
def test_a_goal_says_what_it_wants_and_how_near_it_is(
    unit: Unit, goal: Goal, medians: dict[str, float], text: str
) -> None:
    result = result_of(unit, goal, **medians)
    assert f"{wanted(goal, unit)}: {outcome(result, goal)}" == text


def test_files_go_to_a_disk_when_there_is_one() -> None:
    with scratch_folder() as folder:
        assert folder.is_dir()
        if file_system(Path.cwd()) not in MEMORY:
            assert file_system(folder) not in MEMORY
    assert not folder.exists()

"""What a run found, as data (JSON) and as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import pyzdb
from benchmarks.measuring import Goal, Result, Unit
from benchmarks.scratch import MEMORY, file_system


@dataclass(frozen=True)
class Machine:
    """Where and when a run was made, for whoever reads its figures later."""

    date: str
    system: str
    cores: int
    python: str
    pyzdb: str
    file_system: str


@dataclass(frozen=True)
class Report:
    """A whole run."""

    machine: Machine
    rounds: int
    quick: bool
    results: list[Result]

    @property
    def failed(self) -> bool:
        """Whether something that could be measured was not."""
        return any(result.failed for result in self.results)


def this_machine(folder: Path) -> Machine:
    """Describe the machine, and the file system of the folder that the files are in."""
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        pyzdb=pyzdb.__version__,
        file_system=file_system(folder),
    )


def write_json(report: Report, path: Path) -> None:
    """Write a run to a file, with the figures of every round."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def read_json(path: Path) -> Report:
    """Read what `write_json` wrote. Raises ValueError for any other file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is no file that --json wrote: {error}") from error


def heading(report: Report) -> Iterator[str]:
    """Yield the lines that say what a run was."""
    machine = report.machine
    yield (
        f"pyzdb {machine.pyzdb}, Python {machine.python}, {machine.system},"
        f" {machine.cores} cores, {machine.date}"
    )
    yield f"files on {machine.file_system}; medians of {report.rounds} rounds"
    if machine.file_system in MEMORY:
        yield (
            f"WARNING: {machine.file_system} is no disk, so a sync costs nothing here:"
            " set TMPDIR to a folder on a disk"
        )
    if report.quick:
        yield "WARNING: --quick shows that everything works; its figures say nothing"


def block(result: Result) -> Iterator[str]:
    """Yield the lines of the table for one benchmark; each of the others stands beside the figure
    of pyzdb that is above it."""
    better = "more" if result.unit.more_is_better else "less"
    yield f"{result.name}: {result.title} ({result.unit.name}, {better} is better)"
    ours: float | None = None
    width = max(map(len, result.labels))
    for label in result.labels:
        figure = result.median(label)
        if figure is not None:
            low, high = min(result.figures[label]), max(result.figures[label])
            line = f"  {label:{width}}  {number(figure):>10}   ({number(low)} to {number(high)})"
            if is_ours(label):
                ours = figure
            elif ours is not None:
                line = f"{line:{width + 44}}  pyzdb is {ours / figure:.2f} of it"
            yield line
        if label in result.missing:
            yield f"  {label:{width}}     MISSING   {result.missing[label]}"
    for label, reason in result.failed.items():
        *_, last = reason.splitlines() or [""]
        yield f"  {label:{width}}      FAILED   {last}"
    for goal in result.goals:
        yield f"  goal: {wanted(goal, result.unit)}: {outcome(result, goal)}"


def is_ours(label: str) -> bool:
    """Whether a contender is pyzdb."""
    return "pyzdb" in label


def wanted(goal: Goal, unit: Unit) -> str:
    """Say what a goal asks for."""
    limit = "at least" if unit.more_is_better else "at most"
    if not goal.beside:
        return f"{goal.figure} {limit} {number(goal.plus)} {unit.name}"
    beside = goal.beside[0] if len(goal.beside) == 1 else "the best"
    if goal.plus:
        return f"{goal.figure} {limit} {number(goal.plus)} {unit.name} more than {beside}"
    if goal.factor == 1.0:
        return f"{goal.figure} ahead of {beside}"
    return f"{goal.figure} {limit} {goal.factor:g} of {beside}"


def outcome(result: Result, goal: Goal) -> str:
    """Say how near a goal is, and whether it is reached."""
    figure, bound, reached = result.median(goal.figure), result.bound(goal), result.reached(goal)
    if figure is None or bound is None or reached is None:
        return "NOT MEASURED"
    if not goal.beside:
        found = number(figure)
    elif goal.plus:
        found = f"{number(figure - bound + goal.plus)} more"
    else:
        found = f"{figure / bound * goal.factor:.2f} of it"
    return f"{found}, {'reached' if reached else 'NOT REACHED'}"


def closing(report: Report) -> str:
    """Say in one line how many goals are reached."""
    outcomes = [result.reached(goal) for result in report.results for goal in result.goals]
    return (
        f"{outcomes.count(True)} goals reached, {outcomes.count(False)} not reached,"
        f" {outcomes.count(None)} not measured"
    )


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"

"""What a benchmark is, and how it is measured.

Rules this module keeps:

- A benchmark has contenders. Each is opened once (its servers and clients start), then all are
  measured in turn, round after round, so that what else the machine does meets all of them.
- What counts is the median of the rounds, and its ratio to the median of another contender of
  the same run: an absolute time says little about another machine.
- A contender that is not installed is reported as missing, one that fails as failed; the others
  go on.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Measure = Callable[[], float]
Opener = Callable[[], AbstractContextManager[Measure]]
Progress = Callable[[str], None]


class Missing(Exception):
    """What a contender needs is not installed; the message says what and how to get it."""


class Failed(Exception):
    """A process of a benchmark did not do its work."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured in one round: enough that a round takes about a second."""

    requests: int = 4_000
    """Requests of a client that is alone."""
    synced: int = 1_000
    """The same where each waits for a disk."""
    shared: int = 1_000
    """Requests of each of `many` clients."""
    shared_synced: int = 250
    many: int = 16
    commands: int = 1_000
    """Commands in a batch."""
    batches: int = 100
    records: int = 200_000
    """Records in the document: 20 MB of JSON."""
    journal: int = 100_000
    """Records in the journal that is replayed."""
    nodes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    clients: tuple[int, ...] = (1, 4, 16, 64, 256)


QUICK = Sizes(
    requests=20,
    synced=10,
    shared=10,
    shared_synced=5,
    many=3,
    commands=10,
    batches=2,
    records=200,
    journal=50,
    nodes=(100, 1_000),
    clients=(1, 4),
)
"""So little that a run shows only that everything works."""


@dataclass(frozen=True)
class Setup:
    """What every benchmark is made from: how much to measure, and a folder for its files."""

    sizes: Sizes
    folder: Path

    def new_folder(self) -> Path:
        """Make a folder that nobody else uses; it goes with the whole run."""
        return Path(tempfile.mkdtemp(dir=self.folder))


@dataclass(frozen=True)
class Unit:
    name: str
    more_is_better: bool


REQUESTS = Unit("requests/s", True)
COMMANDS = Unit("commands/s", True)
MILLISECONDS = Unit("ms", False)
MICROSECONDS = Unit("µs", False)
MEGABYTES = Unit("MB", False)
MEGABYTES_PER_SECOND = Unit("MB/s", True)

MILLISECOND = 1e-3
MICROSECOND = 1e-6
MEGABYTE = 1_000_000
"""What these units are, in seconds and bytes."""


@dataclass(frozen=True)
class Goal:
    """The contender ``figure`` is to be on the better side of its bound.

    The bound is ``factor`` times the best median of the contenders in ``beside``, and ``plus``
    (in the benchmark's unit) more; with nobody in ``beside`` it is ``plus`` alone.
    """

    figure: str
    beside: tuple[str, ...] = ()
    factor: float = 1.0
    plus: float = 0.0


@dataclass(frozen=True)
class Benchmark:
    """One row: contenders by their labels, in the order in which they take turns."""

    name: str
    title: str
    unit: Unit
    contenders: Mapping[str, Opener]
    goals: tuple[Goal, ...] = ()


@dataclass
class Result:
    """What came of a benchmark: the figures of every round, or why there are none."""

    name: str
    title: str
    unit: Unit
    labels: list[str]
    goals: list[Goal]
    figures: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def median(self, label: str) -> float | None:
        """The median of a contender's rounds; None when it has no figure."""
        figures = self.figures.get(label)
        return median(figures) if figures else None

    def bound(self, goal: Goal) -> float | None:
        """What the goal asks for in this run; None when nobody beside was measured."""
        if not goal.beside:
            return goal.plus
        medians = [m for m in map(self.median, goal.beside) if m is not None]
        if not medians:
            return None
        best = max(medians) if self.unit.more_is_better else min(medians)
        return best * goal.factor + goal.plus

    def reached(self, goal: Goal) -> bool | None:
        """Whether a goal is reached; None when that was not measured."""
        figure, bound = self.median(goal.figure), self.bound(goal)
        if figure is None or bound is None:
            return None
        return figure >= bound if self.unit.more_is_better else figure <= bound


def measure(benchmark: Benchmark, rounds: int, progress: Progress) -> Result:
    """Open the contenders, measure them in turn ``rounds`` times, and close them."""
    result = Result(
        benchmark.name,
        benchmark.title,
        benchmark.unit,
        list(benchmark.contenders),
        list(benchmark.goals),
    )
    try:
        with ExitStack() as stack:
            measures = _open(benchmark, result, stack, progress)
            for number in range(1, rounds + 1):
                for label in list(measures):
                    progress(f"{benchmark.name}: round {number} of {rounds}, {label}")
                    try:
                        result.figures.setdefault(label, []).append(measures[label]())
                    except Exception as error:
                        result.failed[label] = _reason(error)
                        del measures[label]
            progress(f"{benchmark.name}: ending")
    except Exception as error:
        result.failed["the end"] = _reason(error)
    return result


def _open(
    benchmark: Benchmark, result: Result, stack: ExitStack, progress: Progress
) -> dict[str, Measure]:
    measures = {}
    for label, opener in benchmark.contenders.items():
        progress(f"{benchmark.name}: starting {label}")
        try:
            measures[label] = stack.enter_context(opener())
        except Missing as error:
            result.missing[label] = str(error)
        except Exception as error:
            result.failed[label] = _reason(error)
    return measures


def _reason(error: Exception) -> str:
    if isinstance(error, Failed):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()

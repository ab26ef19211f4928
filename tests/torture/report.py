"""What every test shares: its options, its progress line, its violations and its last line.

A test is a module with a docstring, which is its help, and a ``main(arguments, prog)`` that returns
the exit status. It works in a folder of its own, which is removed at the end unless there is a
violation to look into. So a run that was interrupted is simply started again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pyzdb.cli import FAILED, OK, parser_of

VIOLATIONS_SHOWN = 20
"""Violations that are printed: one fault often shows a thousand times."""

MAX_SEED = 1_000_000
"""Seeds that are drawn are below this, short enough to type again."""


class Count(NamedTuple):
    """An option that is a number: what it is in the full test, and with ``--short``."""

    full: int
    short: int
    help: str


class Options:
    """The parser of one test: its counts, ``--short`` and ``--seed``; ``parser`` may get more."""

    def __init__(self, description: str | None, prog: str | None, **counts: Count) -> None:
        self.parser = parser_of(description, prog)
        self._counts = counts
        for name, (full, short, text) in counts.items():
            self.parser.add_argument(
                f"--{name}",
                type=int,
                metavar="N",
                help=f"{text} (default: {full:,}; with --short: {short:,})",
            )
        self.parser.add_argument(
            "--short", action="store_true", help="a short form that runs with every change"
        )
        self.parser.add_argument(
            "--seed",
            type=int,
            default=random.randrange(MAX_SEED),
            metavar="N",
            help="draw the same numbers as a run before did (default: a new one, told at the end)",
        )

    def add_plant(self, *faults: str) -> None:
        """Add --plant: a fault that the test must find."""
        self.parser.add_argument(
            "--plant",
            choices=faults,
            help="have a fault there on purpose, which the test must find",
        )

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Return what was given, every count filled in."""
        given = self.parser.parse_args(arguments)
        for name, (full, short, _) in self._counts.items():
            if getattr(given, name) is None:
                setattr(given, name, short if given.short else full)
        return given


class Run:
    """One run of a test: ``random`` draws from its seed, ``folder`` is there for its files.

    Violations may be told from any thread.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.random = random.Random(seed)
        self.violations: list[str] = []
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix=f"torture-{self.name}-"))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._erase()
        if self.violations or (error is not None and not isinstance(error, KeyboardInterrupt)):
            print(f"{self.name}: the files are kept in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show on a terminal how far the test is; elsewhere nothing is shown."""
        if self._terminal:
            passed = time.monotonic() - self._started
            line = f"{self.name}: {done:,} of {total:,} {text} ({passed:.0f} s)"
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def violation(self, text: str) -> None:
        """Tell that a promise was broken; the test goes on."""
        with self._lock:
            self.violations.append(text)
            if len(self.violations) <= VIOLATIONS_SHOWN:
                self._erase()
                print(f"{self.name}: VIOLATION: {text}", file=sys.stderr, flush=True)

    def finish(self, figures: Mapping[str, int | float]) -> int:
        """Print the last line and return the exit status: 1 when there was any violation."""
        self._erase()
        shown = ", ".join(
            f"{value:,} {name}" if isinstance(value, int) else f"{value:,.2f} {name}"
            for name, value in figures.items()
        )
        passed = time.monotonic() - self._started
        verdict = "FAILED" if self.violations else "passed"
        print(
            f"{self.name}: {verdict}: {shown}, {len(self.violations):,} violations"
            f" (seed {self.seed}, {passed:.0f} s)"
        )
        return FAILED if self.violations else OK

    def _erase(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

"""Measure pyzdb beside what limits it and beside what could be used instead.

Without names everything is measured, on this machine and in this run: the contenders of a
benchmark take turns, round after round, and the table shows the median of each, what pyzdb is of
it, and each goal with whether it is reached. Redis needs the program redis-server; the other peers
come with `pip install '.[bench]'`. What is not installed is shown as MISSING.

The exit status is 0 when all that is installed was measured, and 1 when something failed: the
others go on, the table says what, and standard error where. A goal that is not reached is a figure,
not a failure.

  python -m benchmarks                            everything
  python -m benchmarks read-1 set-1               two of them
  python -m benchmarks --json run.json            keep the figures of every round
  python -m benchmarks --from run.json --plot run.svg
                                                  draw what was kept, and measure nothing
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import documents, growth, queries, starting
from benchmarks.measuring import QUICK, Benchmark, Result, Setup, Sizes, measure
from benchmarks.plot import svg
from benchmarks.report import (
    Report,
    block,
    closing,
    heading,
    read_json,
    this_machine,
    write_json,
)
from benchmarks.scratch import scratch_folder

FAMILIES = (queries, documents, starting, growth)

ROUNDS = 5

FAILED = 1
INTERRUPTED = 130
"""The exit status that a shell expects of a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say, and return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else Sizes()
    if given.list:
        for each in benchmarks(Setup(sizes, Path())).values():
            print(f"{each.name:15} {each.title}")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if given.source is None:
            with scratch_folder() as folder:
                known = benchmarks(Setup(sizes, folder))
                unknown = [name for name in given.names if name not in known]
                if unknown:
                    parser.error(f"no benchmark {', '.join(unknown)}; --list shows all")
                report = Report(this_machine(folder), given.rounds, given.quick, [])
                _show(report, _measure([known[name] for name in given.names or known], report))
        else:
            report = read_json(given.source)
            _show(report, report.results)
        if given.json is not None:
            write_json(report, given.json)
        if given.plot is not None:
            given.plot.write_text(svg(report), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return INTERRUPTED
    return FAILED if report.failed else 0


def benchmarks(setup: Setup) -> dict[str, Benchmark]:
    """Return every benchmark by its name."""
    return {each.name: each for family in FAMILIES for each in family.benchmarks(setup)}


def _measure(chosen: Iterable[Benchmark], report: Report) -> Iterator[Result]:
    for benchmark in chosen:
        result = measure(benchmark, report.rounds, _progress)
        _progress("")
        for label, reason in result.failed.items():
            print(f"{result.name}, {label}: {reason}", file=sys.stderr)
        report.results.append(result)
        yield result


def _show(report: Report, results: Iterable[Result]) -> None:
    """Print a run, each result as soon as it is there."""
    for line in heading(report):
        print(line)
    for result in results:
        print("", *block(result), sep="\n", flush=True)
    print("", closing(report), sep="\n")


def _progress(text: str) -> None:
    """Show what is being done, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default: all)")
    parser.add_argument("--list", action="store_true", help="say which benchmarks there are")
    parser.add_argument(
        "--rounds",
        type=_rounds,
        default=ROUNDS,
        metavar="N",
        help="how often each contender is measured (default: %(default)s)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few operations each, to see that everything works"
    )
    parser.add_argument("--json", type=_new, metavar="FILE", help="write all figures to a file")
    parser.add_argument("--plot", type=_new, metavar="FILE", help="draw them, as SVG")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="show what --json wrote, and measure nothing",
    )
    return parser


def _new(text: str) -> Path:
    """The path of a file to write, found wrong before the run and not after it."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

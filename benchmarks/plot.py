"""The picture of a run: for each benchmark a bar a contender, and a line where each goal is.

Bars of one benchmark share a scale that begins at zero; those of different benchmarks do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from benchmarks.measuring import Result
from benchmarks.report import Report, heading, is_ours, number

WIDTH = 1080
MARGIN = 24
GUTTER = 40
LABEL = 190
"""Pixels for the name of a contender, left of its bar."""
FIGURE = 80
"""Pixels for its figure, right of the longest bar."""
LINE = 18
"""Pixels of one bar with the space below it."""
BAR = 12
GAP = 20
"""Pixels between two benchmarks."""
TOP = 78
"""Pixels of the heading of the picture."""
HEAD = 34
"""Pixels of the heading of a benchmark: its title, and its unit below."""

INK, FAINT, OURS, OTHERS, GOOD, BAD = (
    "#1f2328",
    "#656d76",
    "#2f6f9f",
    "#c3cad1",
    "#1a7f37",
    "#cf222e",
)
STYLE = f"""text {{ font: 12px sans-serif; fill: {INK}; }}
.title {{ font-weight: bold; }}
.faint {{ fill: {FAINT}; }}
.end {{ text-anchor: end; }}"""


def svg(report: Report) -> str:
    """Draw a run; the result is a whole SVG document."""
    shown = [result for result in report.results if result.figures]
    columns = _columns(shown)
    height = TOP + max((sum(map(_height, column)) for column in columns), default=0)
    column_width = (WIDTH - 2 * MARGIN - GUTTER) // 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">',
        "<title>pyzdb beside its limits and its peers</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    lines += _heading(report)
    for place, column in enumerate(columns):
        y = TOP
        for result in column:
            lines += _benchmark(result, MARGIN + place * (column_width + GUTTER), y, column_width)
            y += _height(result)
    return "\n".join([*lines, "</svg>", ""])


def _heading(report: Report) -> Iterator[str]:
    for place, line in enumerate(heading(report)):
        yield _text(MARGIN, 22 + place * 16, line, "title" if place == 0 else "faint")
    y = TOP - 28
    x = MARGIN
    for colour, width, text in (
        (OURS, BAR, "pyzdb"),
        (OTHERS, BAR, "the others"),
        (GOOD, 2, "a goal that is reached"),
        (BAD, 2, "a goal that is not"),
    ):
        yield f'<rect x="{x}" y="{y}" width="{width}" height="{BAR}" fill="{colour}"/>'
        yield _text(x + width + 6, y + 10, text, "faint")
        x += width + 6 + 7 * len(text) + 16


def _columns(results: list[Result]) -> tuple[list[Result], list[Result]]:
    """Cut the row of benchmarks in two columns that are about equally high."""

    def higher(cut: int) -> int:
        return max(sum(map(_height, results[:cut])), sum(map(_height, results[cut:])))

    cut = min(range(len(results) + 1), key=higher)
    return results[:cut], results[cut:]


def _height(result: Result) -> int:
    return HEAD + LINE * len(result.labels) + GAP


def _benchmark(result: Result, x: int, y: int, width: int) -> Iterator[str]:
    better = "longer" if result.unit.more_is_better else "shorter"
    yield _text(x, y + 12, f"{result.name}: {result.title}", "title")
    medians = {label: result.median(label) for label in result.labels}
    bounds = [(goal, result.bound(goal)) for goal in result.goals]
    known = [value for value in (*medians.values(), *(b for _, b in bounds)) if value is not None]
    start = x + LABEL
    scale = (width - LABEL - FIGURE) / (max(known) or 1)
    yield _text(x, y + 27, f"{result.unit.name}, {better} is better", "faint")
    for place, (label, median) in enumerate(medians.items()):
        top = y + HEAD + LINE * place
        yield _text(start - 8, top + 10, label, "end")
        if median is None:
            yield _text(
                start, top + 10, "missing" if label in result.missing else "failed", "faint"
            )
            continue
        colour = OURS if is_ours(label) else OTHERS
        length = max(1.0, median * scale)
        yield f'<rect x="{start}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'
        marks = [(goal, bound) for goal, bound in bounds if goal.figure == label]
        furthest = max([median, *(bound for _, bound in marks if bound is not None)])
        yield _text(start + int(furthest * scale) + 8, top + 10, number(median), "faint")
        for goal, bound in marks:
            if bound is not None:
                colour = GOOD if result.reached(goal) else BAD
                yield (
                    f'<rect x="{start + bound * scale - 1:.1f}" y="{top - 2}" width="2"'
                    f' height="{BAR + 4}" fill="{colour}"/>'
                )


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'

"""Which lines make a whole statement, as they are typed, pasted or read from a pipe.

Rules this module keeps:

- A statement that one line completes is whole at once. A block, such as the body of `for`, goes on
  until an empty line where `empty_line_ends` (at a terminal), and always until a line that does not
  belong to it.
- Text of several lines was pasted: it is whole as soon as Python can read it, its common
  indentation is taken off, and blank lines within it mean nothing.
- A session that was copied with its marks (`> `, `>>> `, and `. `, `... ` where a block goes on)
  is what was typed in it; what was answered is left out.
"""

from __future__ import annotations

import ast
import codeop
import textwrap

SOURCE_NAME = "<prompt>"
"""The file name that Python gives to what was typed."""

_PROMPTS = (">>>", ">")
_CONTINUATIONS = ("...", ".")

_BLOCKS = (
    *(ast.If, ast.For, ast.While, ast.With, ast.Try, ast.TryStar, ast.Match),
    *(ast.AsyncFor, ast.AsyncWith, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
)
"""The statements that can go on after a line with which Python could end them."""


class Statements:
    """Collects lines until they are whole statements. ``empty_line_ends`` (bool): a block that is
    typed line by line ends with an empty line."""

    def __init__(self, empty_line_ends: bool = True) -> None:
        self._empty_line_ends = empty_line_ends
        self._lines: list[str] = []
        self._is_session = False

    @property
    def is_open(self) -> bool:
        """True while there are lines that are not whole."""
        return bool(self._lines)

    def reset(self) -> None:
        """Forget the lines that are not whole."""
        self._lines.clear()
        self._is_session = False

    def add(self, text: str) -> str | None:
        """Add a line, or the lines of a paste, and return the source that is whole by now.

        None: it goes on; an empty text: there is nothing to do. Raises SyntaxError and what else
        Python raises for a source that it cannot read; the lines are forgotten.
        """
        lines = self._without_marks(text.splitlines() or [""])
        pasted = len(lines) > 1
        if not self._lines:
            if not any(_does_something(line) for line in lines):
                return ""
            lines = textwrap.dedent("\n".join(lines)).splitlines() if pasted else [lines[0].strip()]
        self._lines += lines
        return self._take(pasted)

    def end(self) -> str:
        """Return the source that is not whole as it stands: there are no more lines."""
        source = "\n".join(self._lines)
        self.reset()
        return source

    def _take(self, pasted: bool) -> str | None:
        source = "\n".join(self._lines)
        try:
            if codeop.compile_command(source, SOURCE_NAME, "exec") is None:
                return None
            if not pasted and self._goes_on(ast.parse(source).body):
                return None
        except BaseException:
            self.reset()
            raise
        return self.end()

    def _goes_on(self, body: list[ast.stmt]) -> bool:
        """True when the next line may belong to the last statement."""
        is_blank = not self._lines[-1].strip()
        if not body or not isinstance(body[-1], _BLOCKS):
            return False
        return not (is_blank and self._empty_line_ends)

    def _without_marks(self, lines: list[str]) -> list[str]:
        first = next((line for line in lines if line.strip()), "")
        if _unmarked(first, _PROMPTS) is not None:
            self._is_session = True
        if not self._is_session:
            return lines
        marked = [_unmarked(line, (*_PROMPTS, *_CONTINUATIONS)) for line in lines]
        return [line for line in marked if line is not None]


def _does_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _unmarked(line: str, marks: tuple[str, ...]) -> str | None:
    """The line without the mark that it begins with; None when it has none."""
    line = line.lstrip()
    for mark in marks:
        if line == mark:
            return ""
        if line.startswith(f"{mark} "):
            return line[len(mark) + 1 :]
    return None

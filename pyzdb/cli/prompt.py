"""What the prompt does with a line: Python in, text out.

Rules:

- An expression shows its value, a path the value that is stored there, anything else None. None is
  shown too: each line that does something is answered by something.
- A statement that is not complete, such as `with db.batch() as batch:`, goes on until an empty line
  or the end of the input.
- An error is one line: the name of the exception and what it says.

No terminal and no socket is used here; `terminal.py` reads the lines and `shell.py` makes `db`.
"""

from __future__ import annotations

import codeop
import datetime
import decimal
import enum
import uuid
from types import CodeType
from typing import Any, NamedTuple

from pyzdb.cli import one_line
from pyzdb.proxy import Proxy
from pyzdb.values import File

SOURCE_NAME = "<prompt>"
"""The file name that Python gives to what was typed."""

ERROR_WIDTH = 500
"""Characters of an error that are shown: it is one line, and a message may quote a large value."""

VALUE_NAMES: dict[str, Any] = {
    "datetime": datetime,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "File": File,
    "nan": float("nan"),
    "inf": float("inf"),
}
"""What Python calls the values that can be stored, so that what was shown can be typed."""


class Kind(enum.Enum):
    """What came of a line."""

    NOTHING = "nothing to do"
    MORE = "the statement goes on in the next line"
    VALUE = "the text of a value"
    ERROR = "the text of an error"


class Result(NamedTuple):
    """What came of a line, and the text to show for it."""

    kind: Kind
    text: str = ""


class Prompt:
    """Runs lines of Python one after another in one namespace."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = {"__name__": "__console__", "__doc__": None, **VALUE_NAMES, **names}
        self._lines: list[str] = []

    def reset(self) -> None:
        """Forget the statement that is not complete."""
        self._lines.clear()

    def feed(self, line: str) -> Result:
        """Run a line, or keep it when it is a part of a statement that is not complete.

        SystemExit and KeyboardInterrupt go to the caller.
        """
        if not self._lines and (not line.strip() or line.lstrip().startswith("#")):
            return Result(Kind.NOTHING)
        self._lines.append(line if self._lines else line.strip())
        return self._run(ended=False)

    def end(self) -> Result:
        """Run the statement that is not complete as it stands: there are no more lines."""
        return self._run(ended=True) if self._lines else Result(Kind.NOTHING)

    def _run(self, ended: bool) -> Result:
        source = "\n".join(self._lines)
        try:
            code = self._compile(source, ended)
            if code is None:
                return Result(Kind.MORE)
            self._lines.clear()
            return Result(Kind.VALUE, self._show(eval(code, self.names)))
        except Exception as error:
            self._lines.clear()
            return Result(Kind.ERROR, text_of(error))

    def _compile(self, source: str, ended: bool) -> CodeType | None:
        # An expression has a value, which a statement has not: it is tried first.
        try:
            return compile(source, SOURCE_NAME, "eval", dont_inherit=True)
        except SyntaxError:
            pass
        if not ended and codeop.compile_command(source, SOURCE_NAME, "single") is None:
            return None
        return compile(source, SOURCE_NAME, "exec", dont_inherit=True)

    def _show(self, value: Any) -> str:
        return repr(value._run() if isinstance(value, Proxy) else value)


def text_of(error: BaseException) -> str:
    """Return one line for an error."""
    said = error.msg if isinstance(error, SyntaxError) else error
    text = f"{type(error).__name__}: {one_line(said)}".removesuffix(": ")
    return text if len(text) <= ERROR_WIDTH else text[: ERROR_WIDTH - 3] + "..."

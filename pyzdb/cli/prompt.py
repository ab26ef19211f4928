"""What the prompt does with a line: Python in, text out.

Rules:

- An expression shows its value, a path the value that is stored there, anything else None. None is
  shown too: each line that does something is answered by something.
- Several statements, as a paste has them, are run and answered one after another, up to the first
  error. Of lines that came one by one each is run, whatever became of a block before it.
  statements.py says what a whole statement is.
- `db` stays the tree: `db = {}` would look as if it stored something.
- An error is one line: the name of the exception and what it says.

No terminal and no socket is used here; `terminal.py` reads the lines and `shell.py` makes `db`.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import enum
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from pyzdb.cli import one_line
from pyzdb.cli.statements import SOURCE_NAME, Statements
from pyzdb.proxy.path import Proxy
from pyzdb.values.types import File

ERROR_WIDTH = 500
"""Characters of an error that are shown: it is one line, and a message may quote a large value."""

VALUE_NAMES: dict[str, object] = {
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

    MORE = "the statement goes on in the next line"
    VALUE = "the text of a value"
    ERROR = "the text of an error"


class Result(NamedTuple):
    """What came of a line, and the text to show for it."""

    kind: Kind
    text: str = ""


class Prompt:
    """Runs lines of Python one after another in one namespace, which begins with ``names``; those
    of paths stay. ``empty_line_ends`` is as in Statements."""

    def __init__(self, names: dict[str, object], empty_line_ends: bool = True) -> None:
        self.names = {"__name__": "__console__", "__doc__": None, **VALUE_NAMES, **names}
        self._paths = {name: value for name, value in names.items() if isinstance(value, Proxy)}
        self._statements = Statements(empty_line_ends)

    def reset(self) -> None:
        """Forget the statement that is not complete."""
        self._statements.reset()

    def feed(self, text: str) -> Iterator[Result]:
        """Run a line or several, or keep them when they are a part of a statement that is not
        complete, and yield what comes of each statement.

        SystemExit and KeyboardInterrupt go to the caller.
        """
        try:
            source = self._statements.add(text)
        except Exception as error:
            yield Result(Kind.ERROR, text_of(error))
            return
        if source is None:
            yield Result(Kind.MORE)
        else:
            yield from self._run(source, is_paste="\n" in text)

    def end(self) -> Iterator[Result]:
        """Run the statement that is not complete as it stands: there are no more lines."""
        return self._run(self._statements.end())

    def _run(self, source: str, is_paste: bool = False) -> Iterator[Result]:
        failed_line = 0
        try:
            body = ast.parse(source, SOURCE_NAME).body
        except Exception as error:
            yield Result(Kind.ERROR, text_of(error))
            return
        for statement in body:
            if failed_line and (is_paste or statement.lineno == failed_line):
                return
            try:
                result = Result(Kind.VALUE, self._show(self._do(statement)))
            except Exception as error:
                failed_line = statement.end_lineno or statement.lineno
                result = Result(Kind.ERROR, text_of(error))
            yield result

    def _do(self, statement: ast.stmt) -> object:
        """Run one statement, and return the value of an expression."""
        try:
            value = self._value(statement)
        finally:
            rebound = [
                name for name, path in self._paths.items() if self.names.get(name) is not path
            ]
            self.names |= self._paths
        for name in rebound:
            raise NameError(
                f"{name!r} stays the tree, and nothing was stored: {name}['key'] = value stores a "
                f"value, {name}.update({{'key': value}}) several"
            )
        return value

    def _value(self, statement: ast.stmt) -> object:
        if isinstance(statement, ast.Expr):
            expression = ast.Expression(statement.value)
            return eval(compile(expression, SOURCE_NAME, "eval", dont_inherit=True), self.names)
        module = ast.Module([statement], [])
        exec(compile(module, SOURCE_NAME, "exec", dont_inherit=True), self.names)
        return None

    def _show(self, value: object) -> str:
        return repr(value._run() if isinstance(value, Proxy) else value)


def text_of(error: BaseException) -> str:
    """Return one line for an error."""
    said = error.msg if isinstance(error, SyntaxError) else error
    text = f"{type(error).__name__}: {one_line(said)}".removesuffix(": ")
    return text if len(text) <= ERROR_WIDTH else text[: ERROR_WIDTH - 3] + "..."

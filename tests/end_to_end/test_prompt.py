"""What a line that is typed at the prompt comes to."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest

from pyzdb.cli.prompt import ERROR_WIDTH, Kind, Prompt, Result, text_of
from pyzdb.paths import Path
from pyzdb.protocol.commands import Command, Get
from pyzdb.proxy.root import Root
from pyzdb.values import File


class Tree:
    """Answers every query with what it was asked."""

    def fetch(self, index: Path) -> Any:
        return self.query(Command(index))

    def query(self, command: Command | Get) -> Any:
        return list(command.index) if command.func in (None, "__iter__") else command.func

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Any]:
        return [self.query(command) for command in commands]

    def lock(self, timeout: float | None, lease: float | None) -> None:
        pass

    def unlock(self) -> None:
        pass


@pytest.fixture
def prompt() -> Prompt:
    return Prompt({"db": Root(Tree())})


def feed(prompt: Prompt, text: str) -> Result | None:
    """What comes of a text that is one statement, or a part of one; None when it is nothing."""
    results = list(prompt.feed(text))
    assert len(results) <= 1
    return results[0] if results else None


def answers(prompt: Prompt, *lines: str) -> list[str]:
    """What is shown for lines that are fed one after another."""
    return [result.text for line in lines for result in prompt.feed(line) if result.text]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1 + 1", "2"),
        ("  1 + 1  ", "2"),
        ("'text'", "'text'"),
        ("None", "None"),
        ("x = 1", "None"),
        ("import math", "None"),
        ("db", "[]"),
        ("db['l'][4]", "['l', 4]"),
        ("db['x'] = 3", "None"),
        ("db['l'].pop()", "'pop'"),
        ("[key for key in db['l']]", "['l']"),
    ],
)
def test_a_line_shows_its_value(prompt: Prompt, line: str, text: str) -> None:
    assert feed(prompt, line) == (Kind.VALUE, text)


@pytest.mark.parametrize("line", ["", "   ", "# a comment", "  # another"])
def test_a_line_of_nothing_shows_nothing(prompt: Prompt, line: str) -> None:
    assert feed(prompt, line) is None


def test_names_stay_from_line_to_line(prompt: Prompt) -> None:
    feed(prompt, "place = db['l']")
    assert feed(prompt, "place[4]") == (Kind.VALUE, "['l', 4]")


def test_a_statement_goes_on_until_an_empty_line(prompt: Prompt) -> None:
    assert feed(prompt, "with db.batch() as batch:") == (Kind.MORE, "")
    assert feed(prompt, "    x = batch['x']._run()") == (Kind.MORE, "")
    assert feed(prompt, "") == (Kind.VALUE, "None")
    assert feed(prompt, "x.value") == (Kind.VALUE, "['x']")


def test_an_expression_goes_on_until_its_bracket_closes(prompt: Prompt) -> None:
    assert feed(prompt, "[1,") == (Kind.MORE, "")
    assert feed(prompt, " 2]") == (Kind.VALUE, "[1, 2]")


def test_the_end_of_the_input_ends_a_statement(prompt: Prompt) -> None:
    assert list(prompt.end()) == []
    feed(prompt, "if True:")
    feed(prompt, "    y = 5")
    assert list(prompt.end()) == [(Kind.VALUE, "None")]
    assert feed(prompt, "y") == (Kind.VALUE, "5")
    feed(prompt, "[1,")
    [(kind, text)] = prompt.end()
    assert kind is Kind.ERROR
    assert text.startswith("SyntaxError")
    assert feed(prompt, "y") == (Kind.VALUE, "5")


def test_a_statement_can_be_given_up(prompt: Prompt) -> None:
    feed(prompt, "if True:")
    prompt.reset()
    assert feed(prompt, "1") == (Kind.VALUE, "1")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("1 +", "SyntaxError: invalid syntax"),
        ("nothing", "NameError: name 'nothing' is not defined"),
        ("raise ValueError", "ValueError"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("'\\0", None),
    ],
)
def test_an_error_is_one_line(prompt: Prompt, line: str, text: str | None) -> None:
    [(kind, shown)] = prompt.feed(line)
    assert kind is Kind.ERROR
    assert "\n" not in shown
    assert text is None or shown == text
    assert feed(prompt, "1") == (Kind.VALUE, "1")


def test_a_long_error_is_cut() -> None:
    text = text_of(ValueError("x" * 10_000))
    assert len(text) == ERROR_WIDTH
    assert text.endswith("...")


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        datetime.date(2024, 2, 29),
        decimal.Decimal("1.50"),
        uuid.UUID(int=5),
        float("inf"),
        File("/srv/in/report.pdf"),
        (1, {2: b"3"}),
    ],
)
def test_what_is_shown_can_be_typed(prompt: Prompt, value: Any) -> None:
    assert feed(prompt, repr(value)) == (Kind.VALUE, repr(value))


def test_a_way_out_is_the_callers(prompt: Prompt) -> None:
    with pytest.raises(SystemExit):
        feed(prompt, "raise SystemExit")


def test_a_block_ends_with_a_line_that_does_not_belong_to_it(prompt: Prompt) -> None:
    loop = ("for n in range(3):", "    last = n", "last")
    assert answers(prompt, *loop) == ["None", "2"]
    lines = ("if last == 0:", "    what = 'zero'", "else:", "    what = 'more'", "what")
    assert answers(prompt, *lines) == ["None", "'more'"]


def test_lines_of_a_pipe_are_a_file_of_python_in_which_a_block_may_have_empty_lines() -> None:
    prompt = Prompt({}, empty_line_ends=False)
    lines = ("def double(n):", "    twice = 2 * n", "", "    return twice", "double(4)")
    assert answers(prompt, *lines) == ["None", "8"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x = 1\nx + 1", ["None", "2"]),
        ("x = 1; x + 1", ["None", "2"]),
        ("for n in range(3):\n    x = n\nx", ["None", "2"]),
        ("def double(n):\n    twice = 2 * n\n\n    return twice\ndouble(4)\n", ["None", "8"]),
        ("    x = 5\n    if x:\n        x = 6\n    x", ["None", "None", "6"]),
        ("# a comment\n\n'after it'", ["'after it'"]),
        ("x = (1,\n     2)\nx", ["None", "(1, 2)"]),
    ],
)
def test_what_is_pasted_runs_statement_by_statement(
    prompt: Prompt, text: str, shown: list[str]
) -> None:
    assert answers(prompt, text) == shown


def test_a_paste_ends_at_its_first_error(prompt: Prompt) -> None:
    assert answers(prompt, "x = 1\n1 / 0\nx = 2") == ["None", "ZeroDivisionError: division by zero"]
    assert answers(prompt, "x") == ["1"]


def test_a_line_after_a_block_that_failed_is_run(prompt: Prompt) -> None:
    lines = ("x = 1", "for n in [0]:", "    1 / n", "x")
    assert answers(prompt, *lines) == ["None", "ZeroDivisionError: division by zero", "1"]
    assert answers(prompt, "1 / 0; x = 2") == ["ZeroDivisionError: division by zero"]
    assert answers(prompt, "x") == ["1"]


def test_a_paste_that_is_no_python_does_nothing(prompt: Prompt) -> None:
    assert answers(prompt, "x = 1\nx = = 2")[0].startswith("SyntaxError: ")
    assert answers(prompt, "x") == ["NameError: name 'x' is not defined"]


@pytest.mark.parametrize(
    "session",
    [
        "> x = 3\nNone\n> for n in [4]:\n.     x = n\n. \nNone\n> x\n4\n",
        ">>> x = 3\n>>> for n in [4]:\n...     x = n\n...\n>>> x\n4",
        "    >>> x = 3\n    >>> for n in [4]:\n    ...     x = n\n    >>> x\n    4",
    ],
)
def test_a_session_is_pasted_with_its_marks_and_answers(prompt: Prompt, session: str) -> None:
    assert answers(prompt, session) == ["None", "None", "4"]


def test_a_line_may_have_the_mark_of_a_prompt(prompt: Prompt) -> None:
    assert answers(prompt, "> db['x']", ">>> 1 + 1") == ["['x']", "2"]


@pytest.mark.parametrize(
    "line", ["db = {'x': 1}", "import math as db", "for db in [1]: pass", "del db"]
)
def test_the_name_of_the_tree_stays(prompt: Prompt, line: str) -> None:
    prompt.feed(line)
    (text,) = answers(prompt, line, "")[-1:]
    assert text.startswith("NameError: 'db' stays the tree, and nothing was stored")
    assert answers(prompt, "db['x']") == ["['x']"]


def test_an_operator_of_the_tree_may_assign_it_to_itself(prompt: Prompt) -> None:
    assert answers(prompt, "db |= {'x': 1}") == ["None"]

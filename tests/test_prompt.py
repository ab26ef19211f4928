"""What a line that is typed at the prompt comes to."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest

from pyzdb.cli.prompt import ERROR_WIDTH, Kind, Prompt, text_of
from pyzdb.errors import Path
from pyzdb.messages import Command
from pyzdb.proxy import Root
from pyzdb.values import File


class Tree:
    """Answers every query with what it was asked."""

    def fetch(self, index: Path) -> Any:
        return self.query(Command(index))

    def query(self, command: Command) -> Any:
        return list(command.index) if command.func in (None, "__iter__") else command.func

    def batch(self, commands: tuple[Command, ...]) -> list[Any]:
        return [self.query(command) for command in commands]

    def lock(self, timeout: float | None, lease: float | None) -> None:
        pass

    def unlock(self) -> None:
        pass


@pytest.fixture
def prompt() -> Prompt:
    return Prompt({"db": Root(Tree())})


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
    assert prompt.feed(line) == (Kind.VALUE, text)


@pytest.mark.parametrize("line", ["", "   ", "# a comment", "  # another"])
def test_a_line_of_nothing_shows_nothing(prompt: Prompt, line: str) -> None:
    assert prompt.feed(line) == (Kind.NOTHING, "")


def test_names_stay_from_line_to_line(prompt: Prompt) -> None:
    prompt.feed("place = db['l']")
    assert prompt.feed("place[4]") == (Kind.VALUE, "['l', 4]")


def test_a_statement_goes_on_until_an_empty_line(prompt: Prompt) -> None:
    assert prompt.feed("with db.batch() as batch:").kind is Kind.MORE
    assert prompt.feed("    x = batch['x']._run()").kind is Kind.MORE
    assert prompt.feed("") == (Kind.VALUE, "None")
    assert prompt.feed("x.value") == (Kind.VALUE, "['x']")


def test_an_expression_goes_on_until_its_bracket_closes(prompt: Prompt) -> None:
    assert prompt.feed("[1,").kind is Kind.MORE
    assert prompt.feed(" 2]") == (Kind.VALUE, "[1, 2]")


def test_the_end_of_the_input_ends_a_statement(prompt: Prompt) -> None:
    assert prompt.end() == (Kind.NOTHING, "")
    prompt.feed("if True:")
    prompt.feed("    y = 5")
    assert prompt.end() == (Kind.VALUE, "None")
    assert prompt.feed("y") == (Kind.VALUE, "5")
    prompt.feed("[1,")
    kind, text = prompt.end()
    assert kind is Kind.ERROR
    assert text.startswith("SyntaxError")
    assert prompt.feed("y") == (Kind.VALUE, "5")


def test_a_statement_can_be_given_up(prompt: Prompt) -> None:
    prompt.feed("if True:")
    prompt.reset()
    assert prompt.feed("1") == (Kind.VALUE, "1")


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
    kind, shown = prompt.feed(line)
    assert kind is Kind.ERROR
    assert "\n" not in shown
    assert text is None or shown == text
    assert prompt.feed("1") == (Kind.VALUE, "1")


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
    assert prompt.feed(repr(value)) == (Kind.VALUE, repr(value))


def test_a_way_out_is_the_callers(prompt: Prompt) -> None:
    with pytest.raises(SystemExit):
        prompt.feed("raise SystemExit")

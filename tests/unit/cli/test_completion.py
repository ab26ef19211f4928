"""Completion of keys: which path is being typed, and what can stand there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from pyzdb.cli.completion import MOST_KEYS, completions, path_at_end
from pyzdb.cli.terminal import _completer
from tests.support.programs import Server
from tests.torture.processes import free_uris


@pytest.mark.parametrize(
    ("text", "keys", "part"),
    [
        ("db[", (), ""),
        ("db['", (), "'"),
        ("db['na", (), "'na"),
        ('db["na', (), '"na'),
        ("db[ 4", (), "4"),
        ("db[-1", (), "-1"),
        ("db['l'][", ("l",), ""),
        ("db['l'][4]['na", ("l", 4), "'na"),
        ("db[ 'l' ][None][1.5]['na", ("l", None, 1.5), "'na"),
        ("db['a]b[']['", ("a]b[",), "'"),
        ("db['it\\'s']['", ("it's",), "'"),
        ("db[(1, 2)]['", ((1, 2),), "'"),
        ("x = db['", (), "'"),
        ("len(db['l']) + len(db['", (), "'"),
        ("[v for v in db['l'][", ("l",), ""),
    ],
)
def test_the_path_at_the_end_is_found(text: str, keys: tuple[Any, ...], part: str) -> None:
    assert path_at_end(text) == (keys, part)


@pytest.mark.parametrize(
    "text",
    ["", "db", "db.", "mydb['", "other.db['", "db['x']", "db[x][", "db[f()]['", "print('db"],
)
def test_nothing_else_is_a_path(text: str) -> None:
    assert path_at_end(text) is None


@pytest.fixture
def db(server: Server, connect: Callable[..., Any]) -> Any:
    return connect(server.write_uri)


def completed(db: Any, text: str) -> list[str]:
    path = path_at_end(text)
    assert path is not None
    return list(completions(db, path))


def test_keys_of_the_path_are_given_as_they_are_typed(db: Any) -> None:
    db["people"] = {"ann": 1, "anton": 2, "bob": 3, 'say "hi"': 4, "it's": 5, 7: 6, (1, 2): 7}
    assert completed(db, "db[") == ["'people']"]
    assert completed(db, "db['people']['an") == ["'ann']", "'anton']"]
    assert completed(db, 'db["people"]["an') == ['"ann"]', '"anton"]']
    assert completed(db, 'db["people"]["say') == ['"say \\"hi\\""]']
    assert completed(db, "db['people'][7") == ["7]"]


def test_nothing_is_given_where_there_is_no_dict(db: Any) -> None:
    db["l"] = [1, 2]
    db["many"] = {str(number): number for number in range(MOST_KEYS + 1)}
    for text in ("db['l'][", "db['missing']['", "db['l'][0]['", "db['many']['"):
        assert completed(db, text) == []


def test_nothing_is_given_without_a_server(connect: Callable[..., Any]) -> None:
    assert completed(connect(free_uris(1)[0], timeout=0.05), "db['") == []


def test_the_prompt_offers_keys_in_place_of_what_is_typed(db: Any) -> None:
    db["people"] = {"ann": 1, "bob": 2}
    completer = _completer(db)
    for typed, offered in {
        "db['pe": [("'people']", -3)],
        "db['people']['": [("'ann']", -1), ("'bob']", -1)],
        "len(": [],
    }.items():
        found = completer.get_completions(Document(typed), CompleteEvent())
        assert [(one.text, one.start_position) for one in found] == offered

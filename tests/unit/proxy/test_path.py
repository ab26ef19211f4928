"""Paths and operators: what is sent, when, and what comes back."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pyzdb.errors import (
    EncodingError,
    PathIndexError,
    PathKeyError,
    PathTypeError,
    QueryError,
)
from pyzdb.operations.table import TABLE
from pyzdb.proxy.batch import Batch
from pyzdb.proxy.path import Function, Method, Proxy
from pyzdb.proxy.root import Root
from tests.unit.proxy.conftest import Service

# --- paths ---------------------------------------------------------------------------------------


def test_a_path_sends_nothing_until_it_is_asked(db: Any, service: Service) -> None:
    path = db["l"][4]["no"][("a", 1)][1:2]
    assert service.sent == []
    assert repr(path) == f"{path!r}" == "db['l'][4]['no'][('a', 1)][1:2]"
    assert repr(db) == "db"
    assert repr(path.append) == repr(path) + ".append"
    assert service.sent == []


def test_each_subscript_makes_a_new_path(db: Any) -> None:
    first = db["l"]
    second = first[0]
    assert (repr(first), repr(second)) == ("db['l']", "db['l'][0]")


def test_run_fetches_what_is_there(db: Any, service: Service) -> None:
    db["l"] = [1, {"k": (2,)}]
    assert db._run() == {"l": [1, {"k": (2,)}]}
    assert db["l"][-1]["k"][0]._run() == 2
    assert service.sent == ["__setitem__", None, None]


@pytest.mark.parametrize(
    ("query", "kind", "path"),
    [
        (lambda db: db["no"]["way"]._run(), PathKeyError, ("no",)),
        (lambda db: db["l"][7]._run(), PathIndexError, ("l", 7)),
        (lambda db: db["x"]["y"]._run(), PathTypeError, ("x", "y")),
        (lambda db: len(db["x"]), PathTypeError, ("x",)),
        (lambda db: list(db["x"]), PathTypeError, ("x",)),
        (lambda db: db["l"] + 1, PathTypeError, ("l",)),
        (lambda db: db["x"] + "a", PathTypeError, ("x",)),
        (lambda db: db["l"].remove(7), ValueError, ("l",)),
        (lambda db: db["x"].append(7), AttributeError, ("x",)),
        (lambda db: db["x"] // 0, QueryError, ("x",)),
    ],
)
def test_an_error_is_that_of_python_with_the_path(
    db: Any, query: Callable[[Any], Any], kind: type[Exception], path: tuple[Any, ...]
) -> None:
    db.update({"x": 3, "l": [1]})
    with pytest.raises(kind) as caught:
        query(db)
    assert isinstance(caught.value, QueryError)
    assert caught.value.path == path


LOOK_UPS: list[Callable[[Any], Any]] = [
    repr,
    ascii,
    dir,
    type,
    callable,
    inspect.getdoc,
    lambda db: hasattr(db, "__array__"),
    lambda db: hasattr(db, "__deepcopy__"),
    lambda db: hasattr(db, "_repr_html_"),
    lambda db: hasattr(db, "_anything"),
    lambda db: isinstance(db, Mapping),
    lambda db: isinstance(db, Sequence),
    lambda db: db["x"].append,
    lambda db: db is None,
]


@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_python_looks_at_a_path_without_a_message(
    db: Any, service: Service, look_up: Callable[[Any], Any]
) -> None:
    look_up(db)
    look_up(db["x"])
    assert service.sent == []


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps, hash])
def test_a_path_cannot_be_copied_pickled_or_hashed(
    db: Any, service: Service, duplicate: Callable[[Any], Any]
) -> None:
    for path in (db, db["x"]):
        with pytest.raises(TypeError):
            duplicate(path)
    assert service.sent == []


@pytest.mark.parametrize("name", ["no_function", "format", "format_map", "_x", "__dict__x", "lock"])
def test_a_name_that_is_not_a_function_is_an_error_before_anything_is_sent(
    db: Any, service: Service, name: str
) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
        getattr(db["x"], name)
    assert service.sent == []


def test_the_whole_tree_has_its_own_functions(db: Any, service: Service) -> None:
    db["x"] = 1
    db["x"] = 2
    db.undo()
    db.redo(1)
    db.undo(2)
    assert [step["what"] for step in db.history()] == []
    db.redo()
    assert [step["where"] for step in db.history(limit=1)] == ["db['x']"]
    assert service.sent[2:] == ["undo", "redo", "undo", "history", "redo", "history"]


def test_a_key_may_be_named_like_a_function(db: Any) -> None:
    db["undo"] = {"append": 1}
    assert db["undo"]["append"]._run() == 1
    assert list(db) == ["undo"]


def test_dir_offers_the_functions(db: Any) -> None:
    assert {"append", "undo", "batch", "_run", "upper"} <= set(dir(db))
    assert "format" not in dir(db)


# --- operators -----------------------------------------------------------------------------------

EXPRESSIONS = {
    7: """p + 5|5 + p|p - 5|5 - p|p * 5|5 * p|p / 5|5 / p|p // 5|50 // p|p % 5|50 % p|p ** 2
        |2 ** p|divmod(p, 5)|divmod(50, p)|p & 6|6 & p|p \\| 8|8 \\| p|p ^ 6|6 ^ p|p << 2|2 << p
        |p >> 1|999 >> p|-p|+p|abs(p)|~p|round(p)|round(p, -1)|int(p)|float(p)|range(9)[p]
        |bool(p)|p < 5|p <= 7|p > 5|p >= 7|p == 7|p != 7|5 < p|p.bit_length()|not p""",
    -2.5: "abs(p)|-p|round(p)|int(p)|float(p)|p + 1|1 - p|p * 2|p == -2.5|bool(p)",
    "abc": """p + 'd'|'d' + p|p * 2|len(p)|[x for x in p]|'b' in p|p[1]|p[::-1]
        |p.upper()|p.split('b')|p == 'abc'|p < 'b'|bool(p)""",
    (1, 2): "len(p)|[x for x in p]|2 in p|p + (3,)|p * 2|p == (1, 2)|p[0]|p.index(2)|p.count(1)",
}
CONTAINERS = {
    "l": """len(p)|[x for x in p]|list(reversed(p))|2 in p|7 in p|p + [9]|p * 2|2 * p|p == [1, 2, 3]
        |p != []|p < [2]|p >= [1]|p[1]|p[-1]|p[1:]|p[::2]|p.index(2)|p.count(2)
        |p.copy()|bool(p)|not p""",
    "d": """len(p)|[x for x in p]|list(reversed(p))|'a' in p|'no' in p|p \\| {'z': 1}|{'z': 1} \\| p
        |p == {'a': 1, 'b': [2]}|p != {}|p.get('a')|p.get('no', 5)|list(p.keys())|p['b'][0]
        |p.copy()|bool(p)""",
}
STORED = {"l": [1, 2, 3], "d": {"a": 1, "b": [2]}}


def split(text: str) -> list[str]:
    """The expressions of a text that `|` parts, but for the operator, which is escaped."""
    parts = text.replace("\\|", "\0").split("|")
    return [part.strip().replace("\0", "|") for part in parts]


CASES = [
    *((value, expression) for value, text in EXPRESSIONS.items() for expression in split(text)),
    *((STORED[key], expression) for key, text in CONTAINERS.items() for expression in split(text)),
]


@pytest.mark.parametrize(("stored", "expression"), CASES)
def test_an_operator_does_what_it_does_on_the_value(
    db: Any, service: Service, stored: Any, expression: str
) -> None:
    db["p"] = stored
    service.sent.clear()
    result = eval(expression, {"p": db["p"]})
    if isinstance(result, Proxy):
        result = result._run()
    expected = eval(expression, {"p": stored})
    assert (result, type(result)) == (expected, type(expected))
    assert len(service.sent) == 1


@pytest.mark.parametrize("operator", "+ - * / // % ** & | ^ << >>".split())
def test_an_operator_in_place_is_one_message(db: Any, service: Service, operator: str) -> None:
    db["d"] = {"x": 7}
    service.sent.clear()
    exec(f"db['d']['x'] {operator}= 3", {"db": db})
    assert len(service.sent) == 1
    assert db["d"]["x"]._run() == eval(f"7 {operator} 3")


@pytest.mark.parametrize(
    ("stored", "statement"),
    [
        ([1, 2], "p += [3]"),
        ([1, 2], "p *= 2"),
        ({"a": 1}, "p |= {'b': 2}"),
        ({1, 2}, "p -= {1}"),
        ("a", "p += 'b'"),
        ((1,), "p += (2,)"),
        ({"a": [1]}, "p['a'] += [2]"),
        ([1, 2, 3, 4], "p[1] = 9"),
        ([1, 2, 3, 4], "p[-1] += 9"),
        ([1, 2, 3, 4], "p[1:3] = [7]"),
        ([1, 2, 3, 4], "del p[0]"),
        ([1, 2, 3, 4], "del p[::2]"),
        ({"a": 1, "b": 2}, "del p['a']"),
    ],
)
def test_a_statement_is_one_message(db: Any, service: Service, stored: Any, statement: str) -> None:
    db["p"] = stored
    service.sent.clear()
    exec(statement.replace("p", "db['p']", 1), {"db": db})
    assert len(service.sent) == 1
    names = {"p": copy.deepcopy(stored)}
    exec(statement, names)
    assert db["p"]._run() == names["p"]


def test_every_function_of_the_table_is_declared_and_no_other() -> None:
    declared = {name for name, value in vars(Proxy).items() if isinstance(value, Function)}
    functions = {name for functions in TABLE.values() for name in functions}
    assert declared == {name for name in functions if name[0] != "_"}


@pytest.mark.parametrize("kind", [Proxy, Root, Batch])
def test_no_function_of_the_table_is_hidden_by_one_of_a_path(kind: type[Proxy]) -> None:
    own = {name for one in kind.__mro__[:-1] for name in vars(one)}
    functions = {name for functions in TABLE.values() for name in functions}
    assert {name for name in own & functions if not isinstance(getattr(kind, name), Function)} == {
        name for name in functions if name[0] == "_"
    }


def test_a_path_cannot_be_changed(db: Any) -> None:
    path = db["x"]
    for name in ("_index", "append", "new"):
        with pytest.raises(AttributeError):
            setattr(path, name, ("y",))
    assert repr(path) == "db['x']"


def test_fetch_is_run_for_those_who_use_no_private_names(db: Any, service: Service) -> None:
    db["l"] = [1]
    service.sent.clear()
    assert db["l"].fetch() == db["l"]._run() == [1]
    assert db.fetch() == {"l": [1]}
    assert service.sent == [None] * 3
    with db.batch() as batch:
        first = batch["l"][0].fetch()
    assert first.value == 1


def test_pairs_are_tuples_as_in_python(db: Any, service: Service) -> None:
    db["d"] = {"a": 1, "b": [2, 3], ("t", 4): {}}
    stored = {"a": 1, "b": [2, 3], ("t", 4): {}}
    service.sent.clear()
    assert db["d"].items() == list(stored.items())
    assert {key: value for key, value in db["d"].items() if key} == stored
    with db.batch() as batch:
        items, last = batch["d"].items(), batch["d"].popitem()
        none, again = batch["d"].clear(), batch["d"].items()
        assert repr(items) == "<result, not known yet>"
    assert repr(items) == f"<result {list(stored.items())!r}>"
    assert (items.value, items.value) == (list(stored.items()),) * 2
    assert (last.value, none.value, again.value) == ((("t", 4), {}), None, [])
    db["d"] = stored
    assert db["d"].popitem() == (("t", 4), {})
    assert repr(db["d"].items) == "db['d'].items"


def test_pairs_that_are_not_there_are_an_error(db: Any) -> None:
    db["l"] = [1]
    with pytest.raises(AttributeError):
        db["l"].items()
    with pytest.raises(AttributeError), db.batch() as batch:
        batch["l"].items()


def test_a_name_that_is_added_to_stands_for_the_same_place(db: Any) -> None:
    db["x"] = 1
    name = db["x"]
    name += 4
    assert (repr(name), name._run()) == ("db['x']", 5)


def test_every_operator_of_the_table_is_an_operator_of_a_path() -> None:
    operators = {name for functions in TABLE.values() for name in functions if name[0] == "_"}
    assert operators <= vars(Proxy).keys()


def test_a_text_with_a_path_in_it_has_the_value_by_one_query(
    db: Any, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    db.update({"name": "Ada", "n": 3.14159, "l": [1, "a"], "none": None})
    service.sent.clear()
    assert str(db["name"]) == "Ada"
    assert f"hello {db['name']}" == "hello Ada"
    assert f"{db['n']:.2f} {db['name']:>5} {db['l'][0]:03}" == "3.14   Ada 001"
    assert "{} and {}".format(db["l"], db["none"]) == "[1, 'a'] and None"
    assert "{}".format(db["l"][1]) == "a"
    print(db["l"])
    assert capsys.readouterr().out == "[1, 'a']\n"
    assert service.sent == [None] * 9
    assert f"{db['name']!r}" == "db['name']"
    assert str(db) == str(db._run())


def test_a_text_with_a_path_that_leads_nowhere_is_an_error(db: Any) -> None:
    db["l"] = [1]
    with pytest.raises(PathKeyError):
        str(db["no"])
    with pytest.raises(PathIndexError):
        f"{db['l'][7]}"
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{db['l']:>5}"


def test_what_is_stored_is_not_a_template(db: Any) -> None:
    db["text"] = "{0.__class__} {} %s"
    assert f"{db['text']}" == "{0.__class__} {} %s"
    assert f"{db['text']:>22}" == "   {0.__class__} {} %s"
    with pytest.raises(AttributeError):
        db["text"].format(1)


def test_a_path_of_a_batch_has_no_text(db: Any, service: Service) -> None:
    db["x"] = 1
    service.sent.clear()
    for shown in (str, format, "{}".format):
        with (
            pytest.raises(RuntimeError, match="not known before the block has ended"),
            db.batch() as batch,
        ):
            shown(batch["x"])
    with db.batch() as batch:
        result = batch["x"]._run()
        assert str(result) == f"{result}" == repr(result) == "<result, not known yet>"
        assert str(batch["l"].append) == "db['l'].append"
    assert str(result) == "<result 1>"


def test_methods_take_named_arguments(db: Any) -> None:
    db["l"] = [2, 3, 1]
    db["l"].sort(reverse=True)
    db["d"] = {}
    db["d"].update(a=1, b=2)
    assert db._run() == {"l": [3, 2, 1], "d": {"a": 1, "b": 2}}
    assert isinstance(db["l"].sort, Method)


# --- paths as values -----------------------------------------------------------------------------


def test_a_path_as_a_value_is_what_is_stored_there(db: Any, service: Service) -> None:
    db["l"] = [1, 2]
    db["copy"] = db["l"]
    db["deep"] = {"in": [db["l"], (db["l"][0],)]}
    db["l"].append(db["l"][0])
    assert db._run() == {
        "l": [1, 2, 1],
        "copy": [1, 2],
        "deep": {"in": [[1, 2], (1,)]},
    }
    assert db["copy"] == db["l"][:2]
    assert list(db["copy"]) == [1, 2]
    db["x"] = 1
    assert db["l"][db["x"]]._run() == 2


def test_a_path_stored_where_it_leads_is_nothing_to_do(db: Any, service: Service) -> None:
    db["l"] = [1]
    service.sent.clear()
    db["l"] = db["l"]
    assert service.sent == []


def test_the_same_path_of_another_tree_is_fetched(db: Any) -> None:
    other: Any = Root(Service())
    other["x"] = 5
    db["x"] = other["x"]
    assert db["x"]._run() == 5


def test_what_cannot_be_stored_is_refused_with_its_path(db: Any) -> None:
    with pytest.raises(EncodingError) as caught:
        db["x"] = {"a": [1, object()]}
    assert caught.value.path == ("x", "a", 1)
    assert db._run() == {}

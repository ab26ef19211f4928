"""The tree of errors, and errors on their way over the wire."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyzdb import errors
from pyzdb.errors import (
    ConnectionClosed,
    CorruptFile,
    EncodingError,
    LockTimeout,
    NoSocket,
    OperationError,
    PathKeyError,
    PyzdbError,
    QueryError,
    ReadOnlyError,
    ServerTimeout,
    from_wire,
    to_wire,
)
from pyzdb.paths import key_text, path_text


def public() -> dict[str, type[PyzdbError]]:
    found = {name: getattr(errors, name) for name in errors.__all__}
    return {name: kind for name, kind in found.items() if isinstance(kind, type)}


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """The tree in the docstring: name -> (parent, built-in parent)."""
    assert errors.__doc__ is not None
    above: list[str] = []
    found: dict[str, tuple[str | None, str | None]] = {}
    for line in errors.__doc__.splitlines():
        match = re.match(r" {4}([│├└─ ]*)([A-Z]\w+)(?: \((\w+)\))?(?:\s{2,}|$)", line)
        if match:
            depth = len(match[1]) // 4
            found[match[2]] = (above[depth - 1] if depth else None, match[3])
            above[depth:] = [match[2]]
    return found


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    tree = drawn()
    assert set(tree) == set(public())
    for name, (parent, builtin) in tree.items():
        names = {kind.__name__ for kind in public()[name].__bases__}
        if name == "PyzdbError":
            assert names == {"Exception"}
        else:
            # A class that only shares code is not drawn.
            names = {"PyzdbError" if known[0] == "_" else known for known in names}
            assert names == {known for known in (parent, builtin) if known}


def test_every_error_says_in_one_sentence_what_it_means() -> None:
    for kind in public().values():
        assert kind.__doc__
        assert kind.__doc__.endswith(".")


@pytest.mark.parametrize("name", sorted(public()))
def test_an_error_crosses_the_wire_with_its_class_and_message(name: str) -> None:
    error = public()[name]("what went wrong")
    back = from_wire(to_wire(error))
    assert type(back) is type(error)
    assert str(back) == str(error) == "what went wrong"


@pytest.mark.parametrize("name", sorted(public()))
def test_an_error_can_be_pickled(name: str) -> None:
    error = public()[name]("what went wrong")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == "what went wrong"
    assert vars(back) == vars(error)


def test_an_error_keeps_its_path_and_the_number_of_its_command() -> None:
    error = PathKeyError("db['a']: 'a'", ("a", 4), 2)
    for back in (from_wire(to_wire(error)), pickle.loads(pickle.dumps(error))):
        assert isinstance(back, PathKeyError)
        assert (back.path, back.command) == (("a", 4), 2)


def described() -> set[str]:
    """The attributes that the docstring tells of."""
    assert errors.__doc__ is not None
    rows = errors.__doc__.split("=\n", 1)[1].split("=\n", 1)[0]
    return {
        name
        for line in rows.splitlines()
        for name in re.findall(r"\w+", line[:22])
        if re.match(r" {4}\w", line)
    }


@pytest.mark.parametrize("name", sorted(public()))
def test_every_attribute_of_an_error_is_described_and_is_not_needed_to_make_it(name: str) -> None:
    assert set(vars(public()[name]("what went wrong"))) <= described()


MADE = [
    ServerTimeout("silent", "tcp://127.0.0.1:5559", 30.5),
    LockTimeout("held", "ada since noon", 2.5),
    NoSocket("too many", "tcp://127.0.0.1:5559"),
    ConnectionClosed("closed", "tcp://127.0.0.1:5559"),
    CorruptFile("damaged", "db.pkl", 17),
    PathKeyError("no", ("a", 4), 2),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_pickling_keeps_the_attributes_of_an_error(error: PyzdbError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (str(back), vars(back)) == (str(error), vars(error))
    assert all(vars(error).values())


def test_an_error_is_caught_as_what_python_would_raise() -> None:
    with pytest.raises(KeyError):
        raise PathKeyError("no")
    with pytest.raises(TypeError):
        raise EncodingError("no")
    with pytest.raises(TimeoutError):
        raise ServerTimeout("no")


def test_a_key_error_shows_its_message_as_it_is() -> None:
    assert str(PathKeyError("db['a']: 'a'")) == "db['a']: 'a'"


def test_a_damaged_file_says_where() -> None:
    error = CorruptFile("damaged", "db.pkl", 17)
    assert (error.filename, error.offset) == ("db.pkl", 17)


def test_an_error_of_another_kind_travels_as_an_operation_error() -> None:
    wire = to_wire(ZeroDivisionError("division by zero"))
    back = from_wire(wire)
    assert type(back) is OperationError
    assert str(back) == "ZeroDivisionError: division by zero"


def test_a_class_that_only_has_the_name_of_an_error_travels_as_an_operation_error() -> None:
    class ReadOnlyError(Exception):
        pass

    assert to_wire(ReadOnlyError("no"))["type"] == "OperationError"


@pytest.mark.parametrize("name", ["SystemExit", "_PathError", "", "__doc__", None, 3, ["x"]])
def test_an_unknown_name_gives_an_operation_error(name: Any) -> None:
    assert type(from_wire({"type": name, "message": "m"})) is OperationError


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=3), child),
    max_leaves=5,
)


@given(
    wire=st.fixed_dictionaries(
        {},
        optional={
            "type": JSON | st.sampled_from(sorted(public())),
            "message": JSON,
            "path": JSON,
            "command": JSON,
        },
    )
)
def test_whatever_the_other_side_says_becomes_an_error(wire: dict[str, Any]) -> None:
    error = from_wire(wire)
    assert isinstance(error, PyzdbError)
    assert isinstance(str(error), str)
    if isinstance(error, QueryError):
        assert isinstance(error.path, tuple)
        assert error.command is None or isinstance(error.command, int)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), "db"),
        (("l", 4), "db['l'][4]"),
        ((("l", 4),), "db[('l', 4)]"),
        (("l", slice(1, None)), "db['l'][1:]"),
        (("l", slice(None, -1, 2)), "db['l'][:-1:2]"),
        (("\ud800",), "db['\\ud800']"),
        (("x" * 100,), "db['" + "x" * 56 + "...]"),
    ],
)
def test_a_path_is_written_as_the_user_would_type_it(path: tuple[Any, ...], text: str) -> None:
    assert path_text(path) == text


def test_a_key_that_python_does_not_write_has_a_text() -> None:
    for key in (10**5000, (1, 10**5000), slice(10**5000, None)):
        assert "large" in key_text(key)
        assert "large" in path_text((key,))


def test_the_read_only_error_is_not_a_fault_of_the_query() -> None:
    assert not issubclass(ReadOnlyError, QueryError)

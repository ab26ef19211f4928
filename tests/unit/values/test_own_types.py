"""Types of a user's own: they come back as they were, also through who does not know them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from pyzdb.errors import EncodingError
from pyzdb.values import Custom, File, register
from pyzdb.values.tags import REGISTRY, dumps, loads
from tests.support.engine import Engine


class Thing:
    """Is not registered, unless a test does it."""


class Money:
    def __init__(self, amount: Decimal, currency: str) -> None:
        self.amount = amount
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.amount)


@pytest.fixture
def registry() -> Iterator[None]:
    """Nothing registered, and nothing left registered."""
    with REGISTRY.emptied():
        yield


def register_money(name: str = "money") -> None:
    register(Money, name, lambda m: (m.amount, m.currency), lambda data: Money(*data))


@pytest.mark.usefixtures("registry")
def test_a_registered_type_comes_back() -> None:
    register_money()
    value = {"price": Money(Decimal("1.50"), "EUR"), "all": {Money(Decimal(1), "USD")}}
    assert loads(dumps(value)) == value


def test_a_process_that_does_not_know_a_type_sends_it_back_unchanged() -> None:
    value = {"price": [Money(Decimal("1.50"), "EUR")], "all": {Money(Decimal(1), "USD")}}
    with REGISTRY.emptied():
        register_money()
        sent = dumps(value)
    held = loads(sent)
    assert isinstance(held["price"][0], Custom)
    assert held["price"][0].name == "money"
    assert "money" in repr(held)
    assert dumps(held) == sent
    assert dumps(pickle.loads(pickle.dumps(held))) == sent


def test_an_unknown_tag_keeps_all_its_fields() -> None:
    wire = b'{"_customtype":"from the future","a":[{"_customtype":"tuple","items":[1]}],"b":null}'
    held = loads(wire)
    assert held == Custom("from the future", {"a": [(1,)], "b": None})
    assert dumps(held) == wire


def test_unknown_values_are_equal_and_hash_by_their_fields() -> None:
    one = Custom("a", {"data": {"x": [1, {2}, (3,)], "y": 1}})
    other = Custom("a", {"data": {"y": 1.0, "x": [1, {2}, (3,)]}})
    assert one == other
    assert hash(one) == hash(other)
    many = {Custom("a", {"data": [number]}) for number in range(1000)}
    assert len({hash(each) for each in many}) > 900
    assert one != Custom("b", one.fields)
    assert one != "a"


@pytest.mark.usefixtures("registry")
def test_the_parts_of_a_registered_type_are_refused_with_the_path() -> None:
    register_money()
    thing: Any = Thing()
    loop: Any = Money(Decimal(1), "EUR")
    with pytest.raises(EncodingError, match=r"db\['a'\]\[1\]: a value of type Thing"):
        dumps({"a": Money(Decimal(1), thing)})
    loop.currency = loop
    with pytest.raises(EncodingError, match="a cycle"):
        dumps(loop)


@pytest.mark.usefixtures("registry")
def test_a_value_that_cannot_be_made_again_says_why_and_the_rest_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    register_money()
    sent = b'{"broken":{"_customtype":"money","data":5},"rest":[1]}'
    held = loads(sent)
    assert held["rest"] == [1]
    assert held["broken"] == Custom("money", {"data": 5})
    assert "TypeError" in held["broken"].why
    assert "why='TypeError" in repr(held)
    assert "'money' could not be made: TypeError" in caplog.text
    assert dumps(held) == sent


@pytest.mark.usefixtures("registry")
def test_a_server_makes_no_registered_value(engine: Engine) -> None:
    register_money()
    price = Money(Decimal("1.50"), "EUR")
    engine.put("price", price)
    engine.put("all", [price])
    engine.save()
    engine.put("more", [price])
    engine.restart()
    root = engine.db.tree.root
    assert {type(root["price"]), type(root["all"][0]), type(root["more"][0])} == {Custom}
    assert engine.tree == {"price": price, "all": [price], "more": [price]}


@pytest.mark.usefixtures("registry")
def test_a_type_that_turns_into_itself_is_refused() -> None:
    register(Thing, "thing", lambda thing: Thing(), lambda data: data)
    with pytest.raises(EncodingError, match="nested deeper than 100 levels"):
        dumps(Thing())


@pytest.mark.usefixtures("registry")
def test_a_subclass_of_a_registered_type_is_not_covered() -> None:
    register_money()
    with pytest.raises(EncodingError, match="a value of type Dear cannot be stored"):
        dumps(type("Dear", (Money,), {})(Decimal(1), "EUR"))


@pytest.mark.usefixtures("registry")
def test_a_name_means_one_type() -> None:
    register_money()
    with pytest.raises(ValueError, match="another type is registered as 'money'"):
        register(Thing, "money", repr, repr)
    register_money("cash")
    register(Thing, "money", repr, lambda data: "a thing")
    assert loads(dumps([Money(Decimal(1), "EUR"), Thing()])) == [
        Money(Decimal(1), "EUR"),
        "a thing",
    ]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", ["tuple", "dict", "slice", "file", "Decimal", "", None])
def test_a_name_of_the_format_cannot_be_registered(name: Any) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a type"):
        register(Thing, name, repr, repr)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", [int, dict, tuple, datetime, File, Custom, bool])
def test_a_type_that_is_stored_anyway_cannot_be_registered(kind: Any) -> None:
    with pytest.raises(ValueError, match="can be stored without"):
        register(kind, "mine", repr, repr)

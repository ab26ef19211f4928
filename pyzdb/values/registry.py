"""The types of a user's own that this process can store.

Rules this module keeps:

- A name stands for one type, and a type has one name: registering it again changes the name.
- No name of the format is taken, and no type that can be stored without being registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyzdb.paths import Value

ToJson = Callable[[Value], Value]
FromJson = Callable[[Value], Value]


class Registry:
    """Types by themselves, with their name and what describes a value, and by their names, with
    what makes a value again. ``reserved`` are names and ``storable`` types that it does not take.
    """

    __slots__ = ("_reserved", "_storable", "names", "types")

    def __init__(self, reserved: frozenset[str], storable: frozenset[type[Any]]) -> None:
        self._reserved = reserved
        self._storable = storable
        self.types: dict[type[Any], tuple[str, ToJson]] = {}
        self.names: dict[str, FromJson] = {}

    def register(self, type: type[Any], name: str, to_json: ToJson, from_json: FromJson) -> None:
        """Teach this process to store a type of your own.

        ``to_json(value)`` returns anything that can be stored, ``from_json`` makes the value of it
        again. ``name`` (str) marks it on the wire: choose it once and keep it. Subclasses are not
        covered. Raises ValueError for a name that pyzdb or another type uses, and for a type that
        can be stored without.
        """
        if not isinstance(name, str) or not name or name in self._reserved:
            raise ValueError(f"{name!r} cannot be the name of a type")
        if type in self._storable:
            raise ValueError(f"{type.__name__} can be stored without being registered")
        before, _ = self.types.get(type, (None, None))
        if name in self.names and name != before:
            raise ValueError(f"another type is registered as {name!r}")
        if before is not None:
            del self.names[before]
        self.types[type] = (name, to_json)
        self.names[name] = from_json

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Know no type at first, and at the end those of before again: for tests, in one thread."""
        types, names = self.types.copy(), self.names.copy()
        try:
            self.types.clear()
            self.names.clear()
            yield
        finally:
            self.types.clear()
            self.types.update(types)
            self.names.clear()
            self.names.update(names)

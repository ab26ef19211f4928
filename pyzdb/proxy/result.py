"""What a command of a batch will give."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pyzdb.paths import Value


class Result(msgspec.Struct, eq=False, gc=False):
    """What a command of a batch will give: ``value``, once the block has ended."""

    # A struct, since a thousand objects that Python's collector watches cost more than the rest.
    _known: Value = msgspec.UNSET
    _make: Callable[[Value], Value] | None = None

    @property
    def value(self) -> Value:
        """The result of the command. Raises RuntimeError as long as it is not known."""
        known = self._given()
        return self._unknown() if known is msgspec.UNSET else known

    def then(self, make: Callable[[Value], Value]) -> Result:
        """Have the result made of what the command will give, when it is looked at."""
        self._make = make
        return self

    def _given(self) -> Value:
        if self._make is not None and self._known is not msgspec.UNSET:
            self._known, self._make = self._make(self._known), None
        return self._known

    def _unknown(self, *_: object) -> Value:
        if self._known is not msgspec.UNSET:
            raise RuntimeError("a result of a batch is not the value itself: ask for .value")
        raise RuntimeError(
            "the result of a command in a batch is not known before the block has ended "
            "without an error: the commands are sent then"
        )

    def __repr__(self) -> str:
        known = self._given()
        return "<result, not known yet>" if known is msgspec.UNSET else f"<result {known!r}>"

    # A block that looks at a result would decide on something that is not there.
    __bool__ = __index__ = __iter__ = __len__ = __getitem__ = __contains__ = _unknown
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = _unknown
    __eq__ = _unknown
    __ne__ = _unknown
    __hash__ = object.__hash__

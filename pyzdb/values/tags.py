"""What can be stored, and how it travels as JSON.

Rules this module keeps:

- What comes back equals what went in, or it is refused before it is sent: of the type that went in,
  if that is below, and otherwise of the one that it becomes (kinds.py).
- A plain value (plain.py) travels as it is, without a copy. Everything else travels as a
  tagged object, ``{"_customtype": NAME, ...}``:

    ============  ==============================  =========================================
    tag           Python                          other fields
    ============  ==============================  =========================================
    tuple         tuple                           items: [value, ...]
    set           set                             items
    frozenset     frozenset                       items
    dict          dict with other keys than str,  items: [[key, value], ...]
                  or with the key "_customtype"
    bytes         bytes                           base64
    float         NaN and the infinities          value: "nan", "inf", "-inf"
    int           more than 4,000 digits          hex
    datetime      datetime                        iso, fold if 1, zone if it has a name
    date, time    date, time                      iso, fold if 1
    timedelta     timedelta                       days, seconds, microseconds
    Decimal       Decimal                         value
    UUID          UUID                            value
    file          File                            filename, location or content (base64)
    slice         slice, only in a path or as     start, stop, step
                  an argument
    your own      see register()                  data
    ============  ==============================  =========================================

- A value that this process cannot make, of a zone that its machine does not know or of a type whose
  own code fails, stands for itself (zones.py, `Custom`), and is written again as it came.
- A `Lazy` becomes what it stands for.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

from pyzdb.errors import EncodingError
from pyzdb.paths import Key, Path, Value, path_text
from pyzdb.values.kinds import storable
from pyzdb.values.plain import (
    BIG_INT,
    LEAVES,
    MAX_DEPTH,
    NEGATIVE_BIG_INT,
    TAG,
    is_object,
    is_plain,
    surrogate_error,
)
from pyzdb.values.registry import Registry
from pyzdb.values.types import Custom, File, Lazy
from pyzdb.values.zones import Zone, kept, made, name_of, settled

REASONS_LOGGED = 256
"""Reasons for which values were not made that are remembered, so that each is logged only once:
many values may have the same."""

logger = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def _bytes_fields(value: bytes) -> dict[str, Value]:
    return {"base64": base64.b64encode(value).decode()}


def _moment_fields(value: Value) -> dict[str, Value]:
    if type(value.tzinfo) is Zone:
        value = settled(value)
    fields: dict[str, Value] = {"iso": value.isoformat()}
    if value.fold:
        fields["fold"] = 1
    zone = name_of(value.tzinfo)
    if zone is not None:
        fields["zone"] = zone
    return fields


def _file_fields(value: File) -> dict[str, Value]:
    if value.content is None:
        return {"filename": value.filename, "location": value.location}
    content = {TAG: "bytes", **_bytes_fields(value.content)}
    return {"filename": value.filename, "content": content}


_SCALARS: dict[type[Any], tuple[str, Callable[[Value], dict[str, Value]]]] = {
    bytes: ("bytes", _bytes_fields),
    datetime: ("datetime", _moment_fields),
    date: ("date", lambda v: {"iso": v.isoformat()}),
    time: ("time", _moment_fields),
    timedelta: (
        "timedelta",
        lambda v: {"days": v.days, "seconds": v.seconds, "microseconds": v.microseconds},
    ),
    Decimal: ("Decimal", lambda v: {"value": str(v)}),
    UUID: ("UUID", lambda v: {"value": str(v)}),
    File: ("file", _file_fields),
}


def _text(fields: dict[str, Value], name: str) -> str:
    text = fields[name]
    if type(text) is not str:
        raise TypeError(f'"{name}" must be a string')
    return text


def _bytes(fields: dict[str, Value]) -> bytes:
    return base64.b64decode(_text(fields, "base64"), validate=True)


def _moment(kind: type[Any], fields: dict[str, Value]) -> Value:
    value = kind.fromisoformat(_text(fields, "iso"))
    if fields.get("fold"):
        value = value.replace(fold=1)
    return kept(value, _text(fields, "zone")) if "zone" in fields else value


def _file(fields: dict[str, Value]) -> File:
    filename = None if fields.get("filename") is None else _text(fields, "filename")
    content = fields.get("content")
    if content is None:
        return File(_text(fields, "location"), filename)
    # Version 1 sends the content as text.
    content = _bytes(content) if type(content) is dict else _text(fields, "content").encode()
    return File(None, filename, content)


def _float(fields: dict[str, Value]) -> float:
    text = _text(fields, "value")
    if text not in ("nan", "inf", "-inf"):
        raise ValueError(f"{text!r} has no tag")
    # Each NaN is one of its own: as a key it must not be found here and be lost after a restart.
    return float(text)


_FROM_SCALARS: dict[str, Callable[[dict[str, Value]], Value]] = {
    "bytes": _bytes,
    "float": _float,
    "int": lambda f: int(_text(f, "hex"), 16),
    "datetime": lambda f: _moment(datetime, f),
    "date": lambda f: date.fromisoformat(_text(f, "iso")),
    "time": lambda f: _moment(time, f),
    "timedelta": lambda f: timedelta(f["days"], f["seconds"], f["microseconds"]),
    "Decimal": lambda f: Decimal(_text(f, "value")),
    "UUID": lambda f: UUID(_text(f, "value")),
    "file": _file,
}

_MOMENTS = frozenset({"datetime", "time"})

_SEQUENCES: dict[type[Any], str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_FROM_SEQUENCES: dict[str, Callable[[list[Value]], Value]] = {
    name: kind for kind, name in _SEQUENCES.items()
}

TAGS = frozenset({*_FROM_SCALARS, *_FROM_SEQUENCES, "dict", "slice"})
_TYPES: frozenset[type[Any]] = frozenset(
    {*LEAVES, *_SCALARS, *_SEQUENCES, int, float, list, dict, bytearray, Custom}
)

REGISTRY = Registry(reserved=TAGS, storable=_TYPES)
"""The types of a user's own in this process."""

register = REGISTRY.register


def to_wire(value: Value, path: Path = (), depth_left: int = MAX_DEPTH) -> tuple[Value, bool]:
    """Turn a value into what JSON carries: ``(wire, tagged)``.

    A plain value (plain.py) comes back as the same object, ``tagged`` False. Raises EncodingError
    with the path to the bad part, which starts with ``path``.
    """
    if is_plain(value, depth_left):
        return value, False
    tagging = _Tagging(path, depth_left)
    return tagging.wire(value), tagging.tagged


def argument_to_wire(value: Value, path: Path = ()) -> tuple[Value, bool]:
    """Do what `to_wire` does for a key of a path or an argument of a function, which may be a
    slice."""
    if type(value) is slice:
        ends = {"start": value.start, "stop": value.stop, "step": value.step}
        for end in ends.values():
            if end is not None and not (type(end) is int and is_plain(end)):
                raise EncodingError(f"{path_text(path)}: a slice takes integers or nothing", path)
        return {TAG: "slice", **ends}, True
    return to_wire(value, path)


class _Tagging:
    """Turns one value into what JSON carries. ``tagged`` (bool) is True when a tag was needed; an
    error ends it.

    Here the rule of plain.py stands again, since each value that is not plain needs its own tag: a
    call of `is_plain` for each part would take twice the time.
    """

    __slots__ = ("above", "depth_left", "others", "path", "tagged")

    def __init__(self, path: Path, depth_left: int) -> None:
        self.path = list(path)
        self.above: list[int] = []
        self.others: set[int] = set()
        self.depth_left = depth_left
        self.tagged = False

    def wire(self, value: Value) -> Value:
        kind = type(value)
        if kind is str:
            if not value.isascii():
                self._check_text(value)
            return value
        if kind is int:
            if NEGATIVE_BIG_INT < value < BIG_INT:
                return value
            return self._tag("int", {"hex": hex(value)})
        if kind is float:
            return value if isfinite(value) else self._tag("float", {"value": str(value)})
        if kind in LEAVES:
            return value
        if kind is list or kind is dict or kind in _SEQUENCES:
            return self._container(value, kind)
        if kind is Custom or kind in REGISTRY.types:
            return self._custom(value, kind)
        if kind in _SCALARS:
            name, fields = _SCALARS[kind]
            if kind is File:
                self._check_text(value.filename)
                self._check_text(value.location or "")
            return self._tag(name, fields(value))
        return self._other(value)

    def _tag(self, name: str, fields: dict[str, Value]) -> dict[str, Value]:
        self.tagged = True
        return {TAG: name, **fields}

    def _enter(self, value: Value) -> None:
        if id(value) in self.above:
            raise self._error(" holds itself: a cycle cannot be stored")
        if len(self.above) >= self.depth_left:
            raise self._error(f" is nested deeper than {MAX_DEPTH} levels")
        self.above.append(id(value))

    def _container(self, value: Value, kind: type[Any]) -> Value:
        self._enter(value)
        wire = self._dict(value) if kind is dict else self._sequence(value, kind)
        self.above.pop()
        return wire

    def _sequence(self, value: Value, kind: type[Any]) -> Value:
        items = []
        self.path.append(None)
        for index, child in enumerate(value):
            self.path[-1] = index
            items.append(self.wire(child))
        self.path.pop()
        if kind is list:
            return items
        if kind is not tuple:
            for item in items:
                self._check_hashable(item)
            items.sort(key=_encoder.encode)  # a set has another order in every process
        return self._tag(_SEQUENCES[kind], {"items": items})

    def _dict(self, value: dict[Key, Value]) -> dict[str, Value]:
        as_object = is_object(value)
        pairs = []
        self.path.append(None)
        for key, child in value.items():
            self.path[-1] = key
            key_wire = self.wire(key)
            if not as_object:
                self._check_hashable(key_wire)
            pairs.append((key_wire, self.wire(child)))
        self.path.pop()
        return dict(pairs) if as_object else self._tag("dict", {"items": pairs})

    def _custom(self, value: Value, kind: type[Any]) -> dict[str, Value]:
        self._enter(value)
        if kind is Custom:
            name, fields = value.name, self._dict(value.fields)
            if TAG in fields:
                raise self._error(f": the fields of {name!r} need other names")
            self._check_text(name)
        else:
            name, to_json = REGISTRY.types[kind]
            fields = {"data": self.wire(to_json(value))}
        self.above.pop()
        return self._tag(name, fields)

    def _check_text(self, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise surrogate_error(text, tuple(self.path)) from None

    def _check_hashable(self, wire: Value) -> None:
        """Refuse a key or a member of a set that would come back as what cannot be one."""
        kind = type(wire)
        name = wire.get(TAG) if kind is dict else None
        if name == "tuple" or name == "frozenset":
            for item in wire["items"]:
                self._check_hashable(item)
        elif kind is list or (kind is dict and name in (None, "dict", "set")):
            raise self._error(": a key or a member of a set cannot be stored as a list")

    def _other(self, value: Value) -> Value:
        """A value of any other type, by one of a type that has a form on the wire."""
        if id(value) in self.others:
            raise self._error(" holds itself: a cycle cannot be stored")
        self.others.add(id(value))
        if isinstance(value, Lazy):
            instead = value._run()
        elif isinstance(value, File):
            instead = File(*value._key())
        else:
            try:
                instead = storable(value)
            except EncodingError as error:
                raise self._error(str(error)) from None
        wire = self.wire(instead)
        self.others.remove(id(value))
        return wire

    def _error(self, words: str) -> EncodingError:
        path = tuple(self.path)
        return EncodingError(path_text(path) + words, path)


def from_wire(wire: Value, depth_left: int = MAX_DEPTH, keep: bool = False) -> Value:
    """Make the value again that ``to_wire`` described, reusing the containers of ``wire``.

    ``keep`` (bool): what need not be understood to be stored stays as it came, a type of a user's
    own as a `Custom` and a named time zone as its name. That is how a server reads, whatever its
    machine knows. Raises EncodingError for a tag whose fields are wrong and for a value that is
    too deep.
    """
    kind = type(wire)
    if kind is list:
        if depth_left <= 0:
            raise _too_deep()
        for index, child in enumerate(wire):
            if type(child) is dict or type(child) is list:
                wire[index] = from_wire(child, depth_left - 1, keep)
        return wire
    if kind is not dict:
        return wire
    if TAG in wire:
        return _from_tag(wire, depth_left, keep)
    if depth_left <= 0:
        raise _too_deep()
    for key, child in wire.items():
        if type(child) is dict or type(child) is list:
            wire[key] = from_wire(child, depth_left - 1, keep)
    return wire


def argument_from_wire(wire: Value) -> Value:
    """Make a key of a path or an argument of a function again, which may be a slice, as a server
    does (``keep``)."""
    if type(wire) is dict and wire.get(TAG) == "slice":
        ends = [wire.get(name) for name in ("start", "stop", "step")]
        if all(end is None or type(end) is int for end in ends):
            return slice(*ends)
        raise EncodingError("a slice takes integers or nothing")
    return from_wire(wire, keep=True)


def _too_deep() -> EncodingError:
    return EncodingError(f"a value is nested deeper than {MAX_DEPTH} levels")


def _from_tag(wire: dict[str, Value], depth_left: int, keep: bool) -> Value:
    name = wire[TAG]
    if type(name) is not str:
        raise EncodingError(f'the field "{TAG}" must be a string')
    if name == "slice":
        raise EncodingError("a slice cannot be stored")
    try:
        if name in _FROM_SCALARS:
            value = _FROM_SCALARS[name](wire)
            return value if keep or name not in _MOMENTS else made(value)
        if depth_left <= 0:
            raise _too_deep()
        if name in _FROM_SEQUENCES:
            return _FROM_SEQUENCES[name](from_wire(_items(wire), depth_left, keep))
        if name == "dict":
            return {
                from_wire(key, depth_left - 1, keep): from_wire(child, depth_left - 1, keep)
                for key, child in map(_pair, _items(wire))
            }
        fields = {
            key: from_wire(child, depth_left - 1, keep) for key, child in wire.items() if key != TAG
        }
    except EncodingError:
        raise
    except Exception as error:
        # No list of what the constructors of so many types raise would stay right.
        why = f"{type(error).__name__}: {error}"
        raise EncodingError(f"the fields of the tag {name!r} are wrong: {why}") from error
    return Custom(name, fields) if keep else _own(name, fields)


def _own(name: str, fields: dict[str, Value]) -> Value:
    """A value of a registered type; a `Custom` if it is not, or cannot be made."""
    if name not in REGISTRY.names or "data" not in fields:
        return Custom(name, fields)
    try:
        return REGISTRY.names[name](fields["data"])
    except Exception as error:  # whatever a user's own code may raise: the rest is to be read
        why = f"{type(error).__name__}: {error}"
        _log(name, why)
        return Custom(name, fields, why)


@lru_cache(REASONS_LOGGED)
def _log(name: str, why: str) -> None:
    logger.warning("a value of the registered type %r could not be made: %s", name, why)


def _items(wire: dict[str, Value]) -> list[Value]:
    items = wire["items"]
    if type(items) is not list:
        raise TypeError('"items" must be an array')
    return items


def _pair(pair: Value) -> list[Value]:
    if type(pair) is not list:
        raise TypeError('"items" must hold arrays of a key and a value')
    return pair


def dumps(value: Value, path: Path = ()) -> bytes:
    """Encode a value as one JSON document (UTF-8), tags included."""
    wire, _ = to_wire(value, path)
    try:
        return _encoder.encode(wire)
    except UnicodeEncodeError:
        raise surrogate_error(value, path) from None


def loads(data: bytes) -> Value:
    """Decode what ``dumps`` made. Raises EncodingError for anything else."""
    try:
        return from_wire(_decoder.decode(data))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise EncodingError(f"this is not a JSON value: {error}") from None

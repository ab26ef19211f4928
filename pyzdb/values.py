"""What can be stored, and how it travels as JSON.

Rules this module keeps:

- What comes back equals what went in, type included, or it is refused before it is sent.
- A value of plain JSON types travels as it is, without a copy. Everything else travels as a
  tagged object, ``{"_customtype": NAME, ...}``:

    ============  ==============================  =========================================
    tag           Python                          other fields
    ============  ==============================  =========================================
    tuple         tuple                           items: [value, ...]
    set           set                             items
    frozenset     frozenset                       items
    dict          dict with other keys than str,  items: [[key, value], ...]
                  or with the key "_customtype"
    bytes         bytes, bytearray                base64
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

- Any other iterable but a mapping (a range, a generator, a view) becomes a list, and a
  subclass of a type above becomes that type.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

from pyzdb.errors import EncodingError, Path, path_text

TAG = "_customtype"

MAX_DEPTH = 100
"""Containers inside one another. JSON parsers and Python's own recursion stay far from their
limits at this depth, and a cycle is found soon."""

BIG_INT = 10**4000
"""Integers from here on are tagged: Python refuses decimal text of more than 4,300 digits."""

_LEAVES = frozenset({str, bool, type(None)})

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class File:
    """A large file that lies beside the tree.

    ``location`` is a path on the server (str or None), ``filename`` the name it had, and
    ``content`` its bytes where the server cannot see the file (bytes or None).
    """

    __slots__ = ("content", "filename", "location")

    def __init__(
        self,
        location: str | None = None,
        filename: str | None = None,
        content: bytes | None = None,
    ) -> None:
        if location is None and content is None:
            raise TypeError("a File needs a location or its content")
        if location is None and filename is None:
            raise TypeError("a File with content needs a filename")
        self.location = None if location is None else str(location)
        name = filename if filename is not None else str(location)
        self.filename = str(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
        self.content = None if content is None else bytes(content)

    def _key(self) -> tuple[str | None, str, bytes | None]:
        return (self.location, self.filename, self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if self.content is not None:
            return f"File(filename={self.filename!r}, content=<{len(self.content)} bytes>)"
        return f"File({self.location!r}, filename={self.filename!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (File, (self.location, self.filename, self.content))


class Custom:
    """A value of a type that this process has not registered: ``name`` (str) and ``fields``
    (dict), kept as they came."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and self.name == other.name and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Custom({self.name!r}, {self.fields!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Custom, (self.name, self.fields))


class Lazy:
    """Stands for a value that is elsewhere: where one is stored, `_run()` fetches what is
    stored in its place."""

    __slots__ = ()

    def _run(self) -> Any:
        """Fetch the value."""
        raise NotImplementedError


def _aware(value: datetime | time) -> dict[str, Any]:
    fields: dict[str, Any] = {"iso": value.isoformat()}
    if value.fold:
        fields["fold"] = 1
    zone = getattr(value.tzinfo, "key", None)
    if isinstance(zone, str):
        fields["zone"] = zone
    return fields


def _from_aware(kind: type[Any], fields: dict[str, Any]) -> Any:
    value = kind.fromisoformat(fields["iso"])
    zone = fields.get("zone")
    if zone is not None:
        from zoneinfo import ZoneInfo  # only who stores named zones pays for it

        value = value.replace(tzinfo=ZoneInfo(zone))
    return value.replace(fold=1) if fields.get("fold") else value


def _file_fields(value: File) -> dict[str, Any]:
    fields: dict[str, Any] = {"filename": value.filename}
    if value.content is not None:
        fields["content"] = {TAG: "bytes", "base64": base64.b64encode(value.content).decode()}
    else:
        fields["location"] = value.location
    return fields


def _from_file(fields: dict[str, Any]) -> File:
    content = fields.get("content")
    if isinstance(content, dict):
        content = base64.b64decode(content["base64"], validate=True)
    elif isinstance(content, str):
        content = content.encode()
    return File(fields.get("location"), fields.get("filename"), content)


_SCALARS: dict[type[Any], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    bytes: ("bytes", lambda v: {"base64": base64.b64encode(v).decode()}),
    bytearray: ("bytes", lambda v: {"base64": base64.b64encode(v).decode()}),
    datetime: ("datetime", _aware),
    date: ("date", lambda v: {"iso": v.isoformat()}),
    time: ("time", _aware),
    timedelta: (
        "timedelta",
        lambda v: {"days": v.days, "seconds": v.seconds, "microseconds": v.microseconds},
    ),
    Decimal: ("Decimal", lambda v: {"value": str(v)}),
    UUID: ("UUID", lambda v: {"value": str(v)}),
    File: ("file", _file_fields),
}

_FROM_SCALARS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bytes": lambda f: base64.b64decode(f["base64"], validate=True),
    "float": lambda f: float(f["value"]),
    "int": lambda f: int(f["hex"], 16),
    "datetime": lambda f: _from_aware(datetime, f),
    "date": lambda f: date.fromisoformat(f["iso"]),
    "time": lambda f: _from_aware(time, f),
    "timedelta": lambda f: timedelta(f["days"], f["seconds"], f["microseconds"]),
    "Decimal": lambda f: Decimal(f["value"]),
    "UUID": lambda f: UUID(f["value"]),
    "file": _from_file,
}

_SEQUENCES: dict[type[Any], str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_FROM_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    name: kind for kind, name in _SEQUENCES.items()
}

_BUILT_IN = frozenset({*_FROM_SCALARS, *_FROM_SEQUENCES, "dict", "slice"})

_registered: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {}
_registered_names: dict[str, Callable[[Any], Any]] = {}


def register(
    type: type[Any],
    name: str,
    to_json: Callable[[Any], Any],
    from_json: Callable[[Any], Any],
) -> None:
    """Teach this process to store a type of your own.

    ``to_json(value)`` returns anything that can be stored, ``from_json`` makes the value of it
    again. ``name`` (str) marks it on the wire: choose it once and keep it. Subclasses are not
    covered. Raises ValueError for a name that pyzdb or another type uses.
    """
    if not isinstance(name, str) or not name or name in _BUILT_IN:
        raise ValueError(f"{name!r} cannot be the name of a type")
    known = _registered.get(type)
    if name in _registered_names and (known is None or known[0] != name):
        raise ValueError(f"another type is registered as {name!r}")
    if known is not None:
        del _registered_names[known[0]]
    _registered[type] = (name, to_json)
    _registered_names[name] = from_json


def is_plain(value: Any, room: int = MAX_DEPTH) -> bool:
    """True for a value of plain JSON types at most ``room`` containers deep."""
    kind = type(value)
    if kind is dict:
        if room <= 0 or TAG in value:
            return False
        for key in value:
            if type(key) is not str:
                return False
        children: Iterable[Any] = value.values()
    elif kind is list:
        if room <= 0:
            return False
        children = value
    elif kind is int:
        small: bool = -BIG_INT < value < BIG_INT
        return small
    elif kind is float:
        return isfinite(value)
    else:
        return kind in _LEAVES
    for child in children:
        kind = type(child)
        if kind in _LEAVES:
            continue
        if kind is int:
            if -BIG_INT < child < BIG_INT:
                continue
            return False
        if kind is float:
            if isfinite(child):
                continue
            return False
        if (kind is dict or kind is list) and is_plain(child, room - 1):
            continue
        return False
    return True


def to_wire(value: Any, path: Path = ()) -> tuple[Any, bool]:
    """Turn a value into what JSON carries: ``(wire, tagged)``.

    A plain value comes back as the same object, ``tagged`` False. Raises EncodingError with the
    path to the bad part, which starts with ``path``.
    """
    if is_plain(value):
        return value, False
    return _tagged(value, tuple(path), (), None)


def argument_to_wire(value: Any, path: Path = ()) -> tuple[Any, bool]:
    """The same for a key of a path or an argument of a function, which may be a slice."""
    if type(value) is slice:
        ends = {name: getattr(value, name) for name in ("start", "stop", "step")}
        for end in ends.values():
            if end is not None and type(end) is not int:
                raise EncodingError(f"{path_text(path)}: a slice takes integers or nothing", path)
        return {TAG: "slice", **ends}, True
    return to_wire(value, path)


def _tagged(
    value: Any, path: Path, above: tuple[int, ...], kind: type[Any] | None
) -> tuple[Any, bool]:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value, False
    if kind is int:
        if -BIG_INT < value < BIG_INT:
            return value, False
        return {TAG: "int", "hex": hex(value)}, True
    if kind is float:
        return (value, False) if isfinite(value) else ({TAG: "float", "value": str(value)}, True)
    if kind in _SCALARS:
        name, fields = _SCALARS[kind]
        return {TAG: name, **fields(value)}, True
    if kind in _registered:
        own, to_json = _registered[kind]
        data, _ = _container(to_json(value), path, (*above, id(value)))
        return {TAG: own, "data": data}, True
    if kind is Custom:
        fields_wire, _ = _container(value.fields, path, above)
        return {TAG: value.name, **fields_wire}, True
    return _container(value, path, above)


def _container(value: Any, path: Path, above: tuple[int, ...]) -> tuple[Any, bool]:
    kind = type(value)
    if not (kind is list or kind is dict or kind in _SEQUENCES):
        base = _base(value, path)
        if base is not value:
            return _tagged(base, path, (*above, id(value)), None)
        return _tagged(value, path, above, None)
    if id(value) in above:
        raise EncodingError(f"{path_text(path)} holds itself: a cycle cannot be stored", path)
    if len(above) >= MAX_DEPTH:
        raise EncodingError(f"{path_text(path)} is nested deeper than {MAX_DEPTH} levels", path)
    above = (*above, id(value))
    if kind is dict:
        return _dict_to_wire(value, path, above)
    tagged = kind is not list
    items = []
    for place, child in enumerate(value):
        wire, child_tagged = _tagged(child, (*path, place), above, None)
        tagged = tagged or child_tagged
        items.append(wire)
    return ({TAG: _SEQUENCES[kind], "items": items} if kind is not list else items), tagged


def _dict_to_wire(value: dict[Any, Any], path: Path, above: tuple[int, ...]) -> tuple[Any, bool]:
    if TAG not in value and all(type(key) is str for key in value):
        tagged = False
        plain = {}
        for key, child in value.items():
            plain[key], child_tagged = _tagged(child, (*path, key), above, None)
            tagged = tagged or child_tagged
        return plain, tagged
    pairs = []
    for key, child in value.items():
        place = (*path, key)
        if type(key) not in (*_LEAVES, int, float, tuple, *_SCALARS, frozenset):
            key = _base(key, place)
        pairs.append([_tagged(key, place, above, None)[0], _tagged(child, place, above, None)[0]])
    return {TAG: "dict", "items": pairs}, True


def _base(value: Any, path: Path) -> Any:
    """The value as the built-in type that it is a kind of; EncodingError if it is of none."""
    if isinstance(value, Lazy):
        return value._run()
    for kind in (bool, int, float, str, bytes, tuple, list, set, frozenset, datetime, date, time):
        if isinstance(value, kind):
            return _exact(kind, value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, io.IOBase | memoryview):
        return list(value)
    raise EncodingError(
        f"{path_text(path)}: a {type(value).__name__} cannot be stored; "
        "pyzdb.register() adds types of your own",
        path,
    )


def _exact(kind: type[Any], value: Any) -> Any:
    if kind is str:
        return str.__str__(value)
    if kind is int:
        return int.__int__(value)
    if kind is float:
        return float.__float__(value)
    if kind in (datetime, date, time):
        shape = {
            datetime: ("year", "month", "day", "hour", "minute", "second", "microsecond"),
            date: ("year", "month", "day"),
            time: ("hour", "minute", "second", "microsecond"),
        }[kind]
        exact = kind(*(getattr(value, name) for name in shape))
        return exact if kind is date else exact.replace(tzinfo=value.tzinfo, fold=value.fold)
    return kind(value)


def from_wire(wire: Any, room: int = MAX_DEPTH) -> Any:
    """Make the value again that ``to_wire`` described, reusing the containers of ``wire``.

    Raises EncodingError for a tag whose fields are wrong and for a value that is too deep.
    """
    kind = type(wire)
    if kind is list:
        if room <= 0:
            raise _too_deep()
        for place, child in enumerate(wire):
            if type(child) is dict or type(child) is list:
                wire[place] = from_wire(child, room - 1)
        return wire
    if kind is not dict:
        return wire
    if TAG in wire:
        return _from_tag(wire, room)
    if room <= 0:
        raise _too_deep()
    for key, child in wire.items():
        if type(child) is dict or type(child) is list:
            wire[key] = from_wire(child, room - 1)
    return wire


def argument_from_wire(wire: Any) -> Any:
    """The same for a key of a path or an argument of a function, which may be a slice."""
    if type(wire) is dict and wire.get(TAG) == "slice":
        ends = [wire.get(name) for name in ("start", "stop", "step")]
        if all(end is None or type(end) is int for end in ends):
            return slice(*ends)
        raise EncodingError("a slice takes integers or nothing")
    return from_wire(wire)


def _too_deep() -> EncodingError:
    return EncodingError(f"a value is nested deeper than {MAX_DEPTH} levels")


def _from_tag(wire: dict[str, Any], room: int) -> Any:
    name = wire[TAG]
    if type(name) is not str:
        raise EncodingError(f'the field "{TAG}" must be a string')
    if name == "slice":
        raise EncodingError("a slice cannot be stored")
    try:
        if name in _FROM_SCALARS:
            return _FROM_SCALARS[name](wire)
        if name in _FROM_SEQUENCES or name == "dict":
            items = wire["items"]
            if type(items) is not list:
                raise EncodingError(f'"items" of the tag {name!r} must be an array')
            if room <= 0:
                raise _too_deep()
            if name == "dict":
                return {
                    from_wire(key, room - 1): from_wire(child, room - 1) for key, child in items
                }
            return _FROM_SEQUENCES[name](from_wire(items, room))
        fields = {key: from_wire(child, room) for key, child in wire.items() if key != TAG}
    except (KeyError, ValueError, AttributeError, InvalidOperation, OverflowError) as error:
        raise EncodingError(f"the fields of the tag {name!r} are wrong: {error}") from None
    except binascii.Error as error:
        raise EncodingError(f"the fields of the tag {name!r} are wrong: {error}") from None
    except EncodingError:
        raise
    except TypeError as error:
        raise EncodingError(f"the fields of the tag {name!r} are wrong: {error}") from None
    from_json = _registered_names.get(name)
    if from_json is not None and "data" in fields:
        return from_json(fields["data"])
    return Custom(name, fields)


def too_deep(wire: Any, room: int = MAX_DEPTH) -> bool:
    """True when a JSON value has more than ``room`` containers inside one another."""
    kind = type(wire)
    if kind is dict:
        children: Iterable[Any] = wire.values()
    elif kind is list:
        children = wire
    else:
        return False
    if room <= 0:
        return True
    for child in children:
        kind = type(child)
        if (kind is dict or kind is list) and too_deep(child, room - 1):
            return True
    return False


def surrogate_error(value: Any, path: Path = ()) -> EncodingError:
    """The error for a value in which the encoder met a lone surrogate, with the path to it."""
    found = _find_surrogate(value, tuple(path))
    where = path if found is None else found
    return EncodingError(
        f"{path_text(where)}: a lone surrogate is no character and cannot be stored", where
    )


def _find_surrogate(value: Any, path: Path) -> Path | None:
    if isinstance(value, str):
        return path if any("\ud800" <= char <= "\udfff" for char in value) else None
    if isinstance(value, dict):
        children: Iterable[tuple[Any, Any]] = value.items()
        for key in value:
            if _find_surrogate(key, path) is not None:
                return path
    elif isinstance(value, list | tuple | set | frozenset):
        children = enumerate(value)
    else:
        return None
    for key, child in children:
        found = _find_surrogate(child, (*path, key))
        if found is not None:
            return found
    return None


def dumps(value: Any, path: Path = ()) -> bytes:
    """Encode a value as one JSON document (UTF-8), tags included."""
    wire, _ = to_wire(value, path)
    try:
        return _encoder.encode(wire)
    except UnicodeEncodeError:
        raise surrogate_error(value, path) from None


def loads(data: bytes) -> Any:
    """Decode what ``dumps`` made. Raises EncodingError for anything else."""
    try:
        return from_wire(_decoder.decode(data))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise EncodingError(f"this is no JSON value: {error}") from None

"""Requests and replies, and the bytes that carry them: one JSON object a message, UTF-8.

Version 1 requests have no field "version"; their reply is the bare JSON value, and an error is
a JSON string that holds the traceback. Tags (values.py) are understood wherever they stand.

Version 2:

    ==========  ==================================================================
    request     meaning
    ==========  ==================================================================
    version     2
    mode        "read", "write", "batch", "lock", "unlock", "exec", "hello" or
                "readall"; whether a function reads or writes is decided by the
                table in operations.py, never by what a request says
    index       the path, an array of keys                       (read, write)
    func        the function to call there, or null              (read, write)
    args        positional arguments, an array                   (read, write)
    kwargs      named arguments, an object                       (read, write)
    commands    [[index, func, args, kwargs], ...]               (batch)
    lease       seconds                                          (lock)
    command     Python source                                    (exec)
    client      the id of the sender: user@host:pid-random
    number      1, 2, 3, ... for a request that must happen once; a repeat carries
                the same number
    since       the sequence number that "hello" gave
    token       proof of the lock
    tagged      true when any value in it carries a tag; otherwise every value is
                taken as it stands, without a search
    ==========  ==================================================================

    ==========  ==================================================================
    reply       meaning
    ==========  ==================================================================
    value       the result; an array of results for a batch
    tagged      true when the value carries tags
    error       {"type", "message", "path", "command"}, see errors.py
    wait        "locked" or "saving": nothing was done, come back with the same
                request
    ==========  ==================================================================

A field at its default is left out, and a field that is not known is refused by nobody.
"""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

import msgspec

from pyzdb.errors import EncodingError, MessageError, PyzdbError, from_wire, to_wire
from pyzdb.values import (
    MAX_DEPTH,
    TAG,
    argument_from_wire,
    argument_to_wire,
    surrogate_error,
    too_deep,
)
from pyzdb.values import from_wire as value_from_wire
from pyzdb.values import to_wire as value_to_wire

MODES = frozenset(
    {"read", "write", "batch", "lock", "unlock", "exec", "hello", "readall", "configure"}
)

TEXT_SHOWN = 80
"""Characters of a bad message that an error repeats."""


class Command(NamedTuple):
    """What to do at one place of the tree: walk ``index``, then call ``func`` there."""

    index: tuple[Any, ...]
    func: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


class Request(msgspec.Struct, gc=False):
    """One request; ``raw`` (bytes) is the message as it came, which the journal keeps."""

    mode: str
    commands: tuple[Command, ...] = ()
    version: int = 2
    client: str = ""
    number: int = 0
    since: int = 0
    token: int | None = None
    lease: float | None = None
    source: str = ""
    tagged: bool = False
    raw: bytes = b""


class Reply(msgspec.Struct, gc=False):
    """The answer to one request: a value, an error, or a reason to come back (``wait``).

    ``plain`` is True when the value is known to be of plain JSON types, so that it is encoded
    without a look at its parts; ``tagged`` is what the other side said of the value.
    """

    value: Any = None
    error: Exception | None = None
    wait: str | None = None
    plain: bool = False


class _Wire(msgspec.Struct, gc=False):
    mode: str
    version: int = 1
    index: list[Any] | None = None
    func: str | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    commands: list[tuple[list[Any], str | None, list[Any], dict[str, Any]]] = []
    client: str = ""
    number: int = 0
    since: int = 0
    token: int | None = None
    lease: float | None = None
    command: str | None = None
    action: str | None = None
    tagged: bool = False


class _WireReply(msgspec.Struct, gc=False):
    value: Any = None
    tagged: bool = False
    error: dict[str, Any] | None = None
    wait: str | None = None


_decode = msgspec.json.Decoder(_Wire).decode
_decode_reply = msgspec.json.Decoder(_WireReply).decode
_encode = msgspec.json.Encoder().encode


def decode_request(data: bytes) -> Request:
    """Read a request. Raises MessageError for anything that is none."""
    try:
        wire = _decode(data)
    except msgspec.ValidationError as error:
        raise MessageError(f"this is no request: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        shown = bytes(data[:TEXT_SHOWN])
        raise MessageError(f"this is no JSON message: {error}: {shown!r}") from None
    mode = wire.mode
    tagged = wire.tagged if wire.version == 2 else TAG.encode() in data or b"\\u" in data
    if mode == "read" or mode == "write":
        if wire.index is None:
            raise MessageError('a request needs the field "index", an array of keys')
        commands = (_command((wire.index, wire.func, wire.args, wire.kwargs), tagged, data),)
    elif mode == "batch":
        commands = tuple([_command(parts, tagged, data) for parts in wire.commands])
    elif mode == "readall":
        commands = (Command(()),)
    else:
        if mode not in MODES:
            raise MessageError(f"unknown mode {mode[:TEXT_SHOWN]!r}")
        if mode == "exec" and wire.command is None:
            raise MessageError('exec needs the field "command", Python source')
        commands = (_command((wire.index or [], wire.func, wire.args, wire.kwargs), tagged, data),)
    if wire.version != 1 and wire.version != 2:
        raise MessageError(f"version {wire.version} of the messages is not known; 1 and 2 are")
    return Request(
        mode,
        commands,
        wire.version,
        wire.client,
        wire.number,
        wire.since,
        wire.token,
        wire.lease,
        wire.command or "",
        tagged,
        data,
    )


def _command(
    parts: tuple[list[Any], str | None, list[Any], dict[str, Any]], tagged: bool, data: bytes
) -> Command:
    index, func, args, kwargs = parts
    if tagged:
        try:
            return Command(
                tuple([argument_from_wire(key) for key in index]),
                func,
                tuple([argument_from_wire(value) for value in args]),
                {name: value_from_wire(value) for name, value in kwargs.items()},
            )
        except EncodingError as error:
            raise MessageError(str(error)) from None
    # A short message cannot nest deeply: the count of its brackets is quicker than a walk.
    if len(data) > MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        for value in (*args, *kwargs.values(), *index):
            if too_deep(value):
                raise MessageError(f"a value is nested deeper than {MAX_DEPTH} levels")
    return Command(tuple(index), func, tuple(args), kwargs)


def _parts(command: Command) -> tuple[dict[str, Any], bool]:
    """The fields of one command, those at their default left out, and whether one is tagged."""
    index, func, args, kwargs = command
    tagged = False
    fields: dict[str, Any] = {"index": index}
    for place, key in enumerate(index):
        if type(key) is not str and type(key) is not int:
            keys = []
            for key in index:
                wire, key_tagged = argument_to_wire(key, index[:place])
                tagged = tagged or key_tagged
                keys.append(wire)
            fields["index"] = keys
            break
    if func is not None:
        fields["func"] = func
    if args:
        path = index
        if func == "__setitem__" and type(args[0]) in (str, int):
            path = (*index, args[0])
        values = []
        for value in args:
            wire, value_tagged = argument_to_wire(value, path)
            tagged = tagged or value_tagged
            values.append(wire)
        fields["args"] = values
    if kwargs:
        named = {}
        for name, value in kwargs.items():
            named[name], value_tagged = value_to_wire(value, index)
            tagged = tagged or value_tagged
        fields["kwargs"] = named
    return fields, tagged


def encode_request(request: Request) -> bytes:
    """Write a version 2 request. Raises EncodingError, with the path, for what cannot travel."""
    fields: dict[str, Any] = {"version": 2, "mode": request.mode}
    if request.mode == "batch":
        commands = []
        tagged = False
        for command in request.commands:
            one, one_tagged = _parts(command)
            tagged = tagged or one_tagged
            commands.append(
                (one["index"], command.func, one.get("args", ()), one.get("kwargs", {}))
            )
        fields["commands"] = commands
    elif request.commands:
        parts, tagged = _parts(request.commands[0])
        fields.update(parts)
    else:
        tagged = False
    if tagged:
        fields["tagged"] = True
    if request.client:
        fields["client"] = request.client
    if request.number:
        fields["number"] = request.number
        fields["since"] = request.since
    if request.token is not None:
        fields["token"] = request.token
    if request.lease is not None:
        fields["lease"] = request.lease
    if request.mode == "exec":
        fields["command"] = request.source
    try:
        return _encode(fields)
    except UnicodeEncodeError:
        for command in request.commands:
            for value in (command.index, *command.args, command.kwargs):
                try:
                    _encode(value_to_wire(value)[0])
                except UnicodeEncodeError:
                    raise surrogate_error(value, command.index) from None
        raise surrogate_error(request.source) from None


def encode_reply(reply: Reply, version: int = 2) -> bytes:
    """Write a reply as the version of its request asks for it; always gives a message."""
    try:
        if reply.error is None:
            if reply.wait is not None:
                return _encode({"wait": reply.wait})
            if reply.plain:
                return _encode(reply.value if version == 1 else {"value": reply.value})
            wire, tagged = value_to_wire(reply.value)
            if version == 1:
                return _encode(wire)
            return _encode({"value": wire, "tagged": True} if tagged else {"value": wire})
        error = reply.error
    except (UnicodeEncodeError, PyzdbError, ValueError, RecursionError) as failure:
        error = failure
    if version == 1:
        text = "".join(traceback.format_exception(error))
        return _encode(text.encode(errors="replace").decode())
    fields = to_wire(error)
    path, tagged = value_to_wire([_safe(key) for key in fields["path"]])
    message = fields["message"].encode(errors="replace").decode()
    return _encode({"error": {**fields, "message": message, "path": path}, "tagged": tagged})


def _safe(key: Any) -> Any:
    """A key that an error may carry: what cannot travel is shown as text."""
    try:
        _encode(value_to_wire(key)[0])
    except (PyzdbError, UnicodeEncodeError):
        return repr(key).encode(errors="replace").decode()
    return key


def decode_reply(data: bytes) -> Reply:
    """Read a version 2 reply. Raises MessageError for anything that is none."""
    try:
        wire = _decode_reply(data)
        if wire.error is not None:
            if wire.tagged:
                wire.error["path"] = value_from_wire(wire.error.get("path"))
            return Reply(error=from_wire(wire.error))
        if wire.tagged:
            return Reply(value_from_wire(wire.value, MAX_DEPTH + 1), wait=wire.wait)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, EncodingError) as error:
        raise MessageError(f"this is no reply of a pyzdb server: {error}") from None
    return Reply(wire.value, wait=wire.wait)

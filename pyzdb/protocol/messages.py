"""Requests and replies, and the bytes that carry them: one JSON object a message, UTF-8.

Version 1 requests have no field "version"; their reply is the bare JSON value, and an error is
a JSON string that holds the traceback. Tags (values/tags.py) are understood wherever they stand; a
result that is a tuple is an array.

Version 2:

    ==========  ==================================================================
    request     meaning
    ==========  ==================================================================
    version     2
    mode        "read", "write", "batch", "lock", "unlock", "exec", "hello" or
                "readall"; whether a function reads or writes is decided by the
                table in operations/table.py, never by what a request says
    index       the path, an array of keys                       (read, write)
    func        the function to call there, or null              (read, write)
    args        positional arguments, an array                   (read, write)
    kwargs      named arguments, an object                       (read, write)
    commands    [[index, func, args, kwargs], ...]               (batch); what is
                left out at the end of one is null or empty
    lease       seconds                                          (lock)
    command     Python source                                    (exec)
    client      the id of the sender: user@host:pid-random
    number      1, 2, 3, ... for a request that must happen once; a repeat carries
                the same number
    since       the sequence number that "hello" gave
    token       proof of the lock
    at_least    the number of a commit that the answer must show      (reads)
    ticket      what the reply to the same request said            (save)
    tagged      true when any value in it carries a tag; otherwise every value is
                taken as it stands, without a search
    ==========  ==================================================================

    ==========  ==================================================================
    reply       meaning
    ==========  ==================================================================
    value       the result; an array of results for a batch
    tagged      true when the value carries tags
    error       {"type", "message", "path", "command"}, see errors.py
    wait        "locked", "saving" or "behind" (a read-only server does not have
                what is wanted yet): nothing was done, come back with the same
                request; one that is "locked" and names its "client" keeps its place
                in the line
    ticket      to be sent along then
    lock        with "locked": {"back": seconds until then, "holder": whose lock it
                is and since when, left out when it is free and others are next}
    sequence    the number of the last commit that the reply shows
    ==========  ==================================================================

A field at its default is left out, and a field that is not known is ignored. A message has at most
MESSAGE_DEPTH arrays and objects inside one another, whoever reads it.

The journal holds requests too (engine/): what is not known is left out of them, so that every
server reads them. There "moved" lists the large files that they moved (storage/files.py), and
"failed" tells that source failed; no client may send these.
"""

from __future__ import annotations

import mmap
import re
import traceback
from operator import attrgetter
from typing import Any, ClassVar

import msgspec

from pyzdb.errors import EncodingError, MessageError, OperationError, PyzdbError, from_wire, to_wire
from pyzdb.paths import Path, path_text
from pyzdb.values.json_text import Shape, shape_of
from pyzdb.values.plain import MAX_DEPTH, SCALARS, TAG, each_is_plain, surrogate_error
from pyzdb.values.tags import argument_from_wire, argument_to_wire
from pyzdb.values.tags import from_wire as value_from_wire
from pyzdb.values.tags import to_wire as value_to_wire

MODES = frozenset({"read", "write", "batch", "lock", "unlock", "exec", "hello", "readall"})

CONFIGURE = "configure"
"""The mode of a record that the server itself puts into its journal: a new limit of the history
in "args". No client may send it."""

RENEW = "renew"
"""The mode of another one: that the lock of "token" was used. No client may send it."""

RECORDS = frozenset({CONFIGURE, RENEW})
"""The modes of the server's own records."""

MESSAGE_DEPTH = 320
"""Arrays and objects inside one another in a message: 100 levels of values, of which each takes at
most three when it carries a tag, in an envelope of four. A parser's own limit is another one in
every process and version of Python."""

RESULT_DEPTH = MAX_DEPTH + 4
"""Levels of a result or of the path of an error: what is stored may be as deep as the limit, and
lies in arrays more there, as in the pairs of an items() in a batch."""

LARGE = 1 << 20
"""Bytes of a message from which on it is looked whether there is memory for what is in it."""

TEXT_SHOWN = 80
"""Characters of a bad message that an error repeats."""

_AT_A_KEY = frozenset({"__getitem__", "__setitem__", "__delitem__"})

_ESCAPE = b"\\u"

_SAYS_2 = re.compile(rb'"version"\s*:\s*2\b')

_kwargs_of = attrgetter("kwargs")


class Command(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    """What to do at one place of the tree: walk ``index``, then call ``func`` there."""

    index: Path = ()
    func: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    def place(self) -> Path:
        """Where its error is and its step: at the key, for the functions that take one."""
        if self.func in _AT_A_KEY and self.args:
            return self.index + self.args[:1]
        return self.index


class Get(msgspec.Struct, array_like=True, gc=False):
    """What only fetches what is at a place: a `Command` that is sent without its last fields."""

    index: Path = ()

    func: ClassVar[None] = None
    args: ClassVar[tuple[Any, ...]] = ()
    kwargs: ClassVar[dict[str, Any]] = {}


class Request(msgspec.Struct, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """One request, field by field as the table above has it."""

    mode: str
    version: int = 1
    index: Path | None = None
    func: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    commands: tuple[Command, ...] = ()  # to be sent: Gets too
    client: str = ""
    number: int = 0
    since: int = 0
    token: int | None = None
    lease: float | None = None
    ticket: int = 0
    at_least: int = 0
    command: str | None = None
    moved: tuple[tuple[Any, ...], ...] = ()
    failed: bool = False
    tagged: bool = False

    def single(self) -> Command:
        """The command of a request that has one."""
        return Command(self.index or (), self.func, self.args, self.kwargs)


class _LenientCommand(Command, array_like=True, gc=False, forbid_unknown_fields=False):
    """A command that may say more than is known."""


class _LenientRequest(Request, omit_defaults=True, gc=False, forbid_unknown_fields=False):
    """A request that may say more than is known."""

    # Nobody puts another command into one that was decoded.
    commands: tuple[_LenientCommand, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]


class Waiting(msgspec.Struct, omit_defaults=True, gc=False):
    """What who waits for the lock is told, as the table above has it."""

    back: float = 0.0
    holder: str = ""


def shown(request: Request) -> str:
    """What a request asks for, without any value: what a client says is escaped."""
    if request.index is None:
        return f"{request.mode!r}"
    return path_text(request.index) + (f".{request.func!r}" if request.func else "")


class Reply(msgspec.Struct):
    """The answer to one request: a value, an error, or a reason to come back (``wait``).

    ``plain`` is True when the value is known to be of plain JSON types, so that it is encoded
    without a look at its parts.
    """

    value: Any = None
    error: Exception | None = None
    wait: str | None = None
    ticket: int = 0
    lock: Waiting | None = None
    plain: bool = False


class _Version(msgspec.Struct):
    version: int = 1


class WireReply(msgspec.Struct, omit_defaults=True, gc=False):
    """A version 2 reply as it is on the wire; what is read has its exception as the error."""

    value: Any = None
    tagged: bool = False
    error: Any = None
    wait: str | None = None
    ticket: int = 0
    sequence: int = 0
    lock: Waiting | None = None


_decode = msgspec.json.Decoder(Request).decode
_decode_lenient = msgspec.json.Decoder(_LenientRequest).decode
_decode_version = msgspec.json.Decoder(_Version).decode
_decode_reply = msgspec.json.Decoder(WireReply).decode
_encode = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A message that was read: the ``request``, the ``message`` with nothing in it that is not
    known, its ``shape`` where that was looked at, and whether it came ``on_lock_socket``: by the
    address that the holder of the lock is sent to."""

    request: Request
    message: bytes
    shape: Shape | None = None
    on_lock_socket: bool = False


def decode_request(data: bytes) -> Request:
    """Read a request. Raises MessageError if it is not a valid one."""
    return read_request(data).request


def read_request(data: bytes, on_lock_socket: bool = False) -> Envelope:
    """Read a message. Raises MessageError if it is not a valid request, and MemoryError."""
    shape = None
    if data.count(b"[") + data.count(b"{") > MESSAGE_DEPTH:  # others cannot be too deep
        shape = shape_of(data)
        if shape.depth > MESSAGE_DEPTH:
            raise MessageError(f"a message has at most {MESSAGE_DEPTH} levels, and this one more")
    if len(data) > LARGE:
        _check_memory(len(data))
    try:
        try:
            request = _decode(data)
        except msgspec.ValidationError:
            request = _known_of(_decode_lenient(data))
            data, shape = _encode(request), None
    except msgspec.ValidationError as error:
        raise MessageError(f"this is not a valid request: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        shown = bytes(data[:TEXT_SHOWN])
        raise MessageError(f"this is not a JSON message: {error}: {shown!r}") from None
    _complete(request, data)
    return Envelope(request, data, shape, on_lock_socket)


def _check_memory(size: int) -> None:
    """Raise MemoryError when there is no room for a text of so many bytes, which takes some
    microseconds: msgspec does not look, and the process would end."""
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"no room for {size} bytes: {error.strerror}") from None


def _known_of(request: _LenientRequest) -> Request:
    """The request without what is not known of it."""
    fields = {name: getattr(request, name) for name in Request.__struct_fields__}
    fields["commands"] = tuple(
        [Command(one.index, one.func, one.args, one.kwargs) for one in request.commands]
    )
    return Request(**fields)


def _complete(request: Request, data: bytes) -> None:
    """Check what the types do not say, and make the values of the tags."""
    if request.version == 1:
        # An old client does not say whether there is a tag; an escape may hide its name.
        request.tagged = TAG.encode() in data or _ESCAPE in data
    elif request.version != 2:
        raise MessageError(f"version {request.version} of the messages is not known; 1 and 2 are")
    mode = request.mode
    if mode == "read" or mode == "write":
        if request.index is None:
            raise MessageError('a request needs the field "index", an array of keys')
    elif mode not in MODES and mode not in RECORDS:
        raise MessageError(f"unknown mode {mode[:TEXT_SHOWN]!r}")
    elif mode == "exec" and request.command is None:
        raise MessageError('exec needs the field "command", Python source')
    if request.tagged:
        try:
            _from_tags(request)
        except EncodingError as error:
            raise MessageError(str(error)) from None


def version_of(data: bytes) -> int:
    """The version that the sender of a bad request speaks, as far as it can be told: 1 or 2."""
    try:
        return 2 if _decode_version(data).version == 2 else 1
    except RecursionError:  # the depth of the rest does not matter here
        return 2 if _SAYS_2.search(data) else 1
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 1


def _from_tags(request: Request) -> None:
    if request.index is not None:
        request.index = tuple([argument_from_wire(key) for key in request.index])
    request.args = tuple([argument_from_wire(value) for value in request.args])
    request.kwargs = _named_from_wire(request.kwargs)
    request.commands = tuple(
        [
            Command(
                tuple([argument_from_wire(key) for key in command.index]),
                command.func,
                tuple([argument_from_wire(value) for value in command.args]),
                _named_from_wire(command.kwargs),
            )
            for command in request.commands
        ]
    )


def _named_from_wire(fields: dict[str, Any]) -> dict[str, Any]:
    """Named values, each of which may carry tags; the names are taken as they stand."""
    return {name: value_from_wire(value, keep=True) for name, value in fields.items()}


def encode_request(request: Request) -> bytes:
    """Write a request. Raises EncodingError, with the path, for what cannot travel."""
    tagged = False
    if request.commands:
        commands, tagged = _batch_to_tags(request.commands)
        request = msgspec.structs.replace(request, commands=commands)
    elif request.kwargs or not each_is_plain((request.index or ()) + request.args, SCALARS):
        single = request.single()
        sent, tagged = _to_tags(single)
        if sent is not single:
            request = msgspec.structs.replace(
                request, index=sent.index, args=sent.args, kwargs=sent.kwargs
            )
    if tagged:
        request.tagged = True
    try:
        return _encode(request)
    except UnicodeEncodeError:
        raise _surrogate_in(request) from None


def _to_tags(command: Command | Get) -> tuple[Command | Get, bool]:
    """The command as JSON carries it, the same object if nothing in it needs a tag."""
    index = command.index
    if (
        not command.kwargs
        and each_is_plain(index, SCALARS)
        and each_is_plain(command.args, SCALARS)
    ):
        return command, False
    wire_index: list[Any] = []
    changed = tagged = False
    for place, key in enumerate(index):
        wire, key_tagged = argument_to_wire(key, index[:place])
        wire_index.append(wire)
        changed = changed or wire is not key
        tagged = tagged or key_tagged
    path = _destination(command)
    wire_args = []
    for value in command.args:
        wire, value_tagged = argument_to_wire(value, path)
        wire_args.append(wire)
        changed = changed or wire is not value
        tagged = tagged or value_tagged
    kwargs = command.kwargs
    if kwargs:
        kwargs = {}
        for name, value in command.kwargs.items():
            kwargs[name], value_tagged = value_to_wire(value, index)
            tagged = tagged or value_tagged
        changed = True
    if not changed:
        return command, tagged
    return Command(tuple(wire_index), command.func, tuple(wire_args), kwargs), tagged


def _destination(command: Command | Get) -> Path:
    """Where the values of a command go: what is wrong with them is told with their path."""
    args = command.args
    if command.func == "__setitem__" and args and type(args[0]) in (str, int):
        return (*command.index, args[0])
    return command.index


def _batch_to_tags(commands: tuple[Command | Get, ...]) -> tuple[tuple[Any, ...], bool]:
    """The same for many commands, for most of which one look at all their values is enough."""
    values = [value for command in commands for value in command.index]
    values += [value for command in commands if command.args for value in command.args]
    if each_is_plain(values, SCALARS) and not any(map(_kwargs_of, commands)):
        return commands, False
    tagged = False
    sent = list(commands)
    for place, command in enumerate(commands):
        sent[place], command_tagged = _to_tags(command)
        tagged = tagged or command_tagged
    return tuple(sent), tagged


def _surrogate_in(request: Request) -> EncodingError:
    """Which value it was that has no UTF-8."""
    for command in (request.single(), *request.commands):
        for value in (command.index, command.func, *command.args, command.kwargs):
            try:
                _encode(value)
            except UnicodeEncodeError:
                return surrogate_error(value, _destination(command))
    return surrogate_error(request.command)


def encode_reply(reply: Reply, version: int = 2, sequence: int = 0) -> bytes:
    """Write a reply as the version of its request asks for it; always gives a message.

    ``sequence`` (int): the number of the last commit that it shows.
    """
    if reply.error is not None:
        return _encode_error(reply.error, version, sequence)
    try:
        return encode_value(reply, version, sequence)
    except PyzdbError as error:
        return _encode_error(error, version, sequence)


def encode_value(reply: Reply, version: int, sequence: int) -> bytes:
    """Write a reply that is not an error. Raises EncodingError or OperationError for a value that
    cannot travel."""
    value = reply.value
    if reply.wait is not None:
        waits = WireReply(wait=reply.wait, ticket=reply.ticket, sequence=sequence, lock=reply.lock)
        return _encode(waits)
    if version == 1 and type(value) is tuple:
        value = list(value)  # what `popitem` and its like gave to an old client
    try:
        tagged = False
        if value is not None and not reply.plain:
            value, tagged = value_to_wire(value, (), RESULT_DEPTH)
        return _encode(value if version == 1 else WireReply(value, tagged, sequence=sequence))
    except (ValueError, RecursionError) as error:
        why = f"the answer cannot be sent: {type(error).__name__}: {error}"
    raise OperationError(why)


def _encode_error(error: Exception, version: int, sequence: int) -> bytes:
    if version == 1:
        text = "".join(traceback.format_exception(error))
        return _encode(text.encode(errors="replace").decode())
    fields = to_wire(error)
    path, tagged = value_to_wire([_safe(key) for key in fields["path"]], (), RESULT_DEPTH)
    message = fields["message"].encode(errors="replace").decode()
    fields |= {"message": message, "path": path}
    return _encode(WireReply(error=fields, tagged=tagged, sequence=sequence))


def _safe(key: Any) -> Any:
    """A key that an error may carry: what cannot travel is shown as text."""
    try:
        _encode(argument_to_wire(key)[0])
        return repr(key) if isinstance(key, slice) else key
    except (PyzdbError, UnicodeEncodeError):
        return repr(key).encode(errors="replace").decode()


def decode_reply(data: bytes | memoryview) -> WireReply:
    """Read a version 2 reply. Raises MessageError if it is not a valid one, and MemoryError."""
    if len(data) > LARGE:
        _check_memory(len(data))
    try:
        reply = _decode_reply(data)
        if reply.error is not None:
            if type(reply.error) is not dict:
                raise EncodingError("its error is no object")
            if reply.tagged:
                reply.error["path"] = value_from_wire(reply.error.get("path"), RESULT_DEPTH)
            reply.error = from_wire(reply.error)
        elif reply.tagged:
            reply.value = value_from_wire(reply.value, RESULT_DEPTH)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, EncodingError) as error:
        raise MessageError(f"this is no reply of a pyzdb server: {error}") from None
    return reply

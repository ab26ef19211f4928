"""Requests, and the bytes that carry them: one JSON object a message, UTF-8.

Version 1 requests have no field "version". Tags (values/tags.py) are understood wherever they
stand.

Version 2:

    ==========  ==================================================================
    request     meaning
    ==========  ==================================================================
    mode        "read", "write", "batch", "lock", "unlock", "exec", "hello" or
                "readall"; whether a function reads or writes is decided by the
                table in operations/table.py, never by what a request says
    index       the path, an array of keys                       (read, write)
    func        the function to call there, or null              (read, write)
    args        positional arguments, an array                   (read, write)
    kwargs      named arguments, an object                       (read, write)
    ticket      what the reply to the same request said          (read, write: save)
    commands    [[index, func, args, kwargs], ...]               (batch); what is
                left out at the end of one is null or empty
    lease       seconds                                          (lock)
    command     Python source                                    (exec)
    version     2
    client      the id of the sender: user@host:pid-random
    number      1, 2, 3, ... for a request that must happen once; a repeat carries
                the same number
    since       the sequence number that "hello" gave
    token       proof of the lock
    at_least    the number of a commit that the answer must show      (reads)
    tagged      true when any value in it carries a tag; otherwise every value is
                taken as it stands, without a search
    ==========  ==================================================================

A field at its default is left out, and a field that is not known is ignored. A message has at most
MESSAGE_DEPTH arrays and objects inside one another, whoever reads it.

The journal holds requests too, as records: what is not known is left out of them, so that every
server reads them. There "moved" lists the large files that they moved (storage/files.py), and
"failed" tells that source failed; in a request of a client these are not known. The server itself
adds "configure" (a new limit of the history in "args") and "renew" (the lock of "token" was used).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property, reduce
from operator import or_
from typing import Any, ClassVar, NamedTuple

import msgspec

from pyzdb.errors import EncodingError, MessageError
from pyzdb.paths import Path, Value, path_text
from pyzdb.protocol.commands import Command, all_to_tags, from_tags, to_tags
from pyzdb.protocol.limits import LARGE, MESSAGE_DEPTH, check_memory, checked_shape
from pyzdb.values.json_text import Shape
from pyzdb.values.plain import SCALARS, TAG, each_is_plain, surrogate_error

TEXT_SHOWN = 80
"""Characters of a bad message that an error repeats."""

_ESCAPE = b"\\u"

_SAYS_2 = re.compile(rb'"version"\s*:\s*2\b')


class Request(
    msgspec.Struct,
    kw_only=True,
    omit_defaults=True,
    gc=False,  # no request is part of a ring
    forbid_unknown_fields=True,
    tag_field="mode",
):
    """What every request has, field by field as the table above has it."""

    version: int = 1
    client: str = ""
    number: int = 0
    since: int = 0
    token: int | None = None
    at_least: int = 0
    tagged: bool = False

    mode: ClassVar[str]


class Call(Request):
    """One command, and the ticket of a save."""

    index: Path
    func: str | None = None
    args: tuple[Value, ...] = ()
    kwargs: dict[str, Value] = {}
    ticket: int = 0

    def single(self) -> Command:
        """The command."""
        return Command(self.index, self.func, self.args, self.kwargs)


class Read(Call, tag="read"):
    """A command of which the sender believes that it changes nothing."""

    mode = "read"


class Write(Call, tag="write"):
    """A command that may change something."""

    mode = "write"


class Batch(Request, tag="batch"):
    """Commands of which all are done or none; to be sent, there may be Gets among them."""

    commands: tuple[Command, ...] = ()

    mode = "batch"


class ReadAll(Request, tag="readall"):
    """The whole tree."""

    mode = "readall"


class TakeLock(Request, tag="lock"):
    """The lock, for ``lease`` seconds; a record has its token."""

    lease: float | None = None

    mode = "lock"


class GiveLockBack(Request, tag="unlock"):
    """The end of a lock."""

    mode = "unlock"


class Exec(Request, tag="exec"):
    """Source to run in the server."""

    command: str

    mode = "exec"


class Hello(Request, tag="hello"):
    """The question how far the server is."""

    mode = "hello"


Moves = tuple[tuple[Any, ...], ...]
"""The large files that a record moved."""


class ReadRecord(Read, tag="read"):
    """A change that was asked for as a read."""

    moved: Moves = ()


class WriteRecord(Write, tag="write"):
    """A change by one command."""

    moved: Moves = ()


class BatchRecord(Batch, tag="batch"):
    """A change by many commands."""

    moved: Moves = ()


class ExecRecord(Exec, tag="exec"):
    """What source did: its ``commands``, in place of the source what it printed (``command``), and
    whether it ``failed``."""

    commands: tuple[Command, ...] = ()
    moved: Moves = ()
    failed: bool = False


ChangeRecord = ReadRecord | WriteRecord | BatchRecord | ExecRecord
"""A record of what a client changed."""


class Configure(Request, tag="configure"):
    """A new limit of the history."""

    args: tuple[Value, ...] = ()

    mode = "configure"


class Renew(Request, tag="renew"):
    """The lock of the token was used."""

    mode = "renew"


class Mode(NamedTuple):
    """One kind of request: what a client may send (None: nothing, it is the server's own), what
    the journal holds of it (None: nothing, it changes nothing), and whether it ``waits`` for the
    lock of somebody else."""

    request: type[Request] | None
    record: type[Request] | None
    waits: bool = True


MODES = {
    "read": Mode(Read, ReadRecord),
    "write": Mode(Write, WriteRecord),
    "batch": Mode(Batch, BatchRecord),
    "exec": Mode(Exec, ExecRecord),
    "readall": Mode(ReadAll, None),
    "lock": Mode(TakeLock, TakeLock),
    "unlock": Mode(GiveLockBack, GiveLockBack),
    "hello": Mode(Hello, None, waits=False),
    "configure": Mode(None, Configure),
    "renew": Mode(None, Renew),
}
"""Every mode; what each does to a database is in engine/handlers.py."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A message that was read: the ``request``, the ``message`` with nothing in it that is not
    known, its ``shape`` where that was looked at, and whether it came ``on_lock_socket``: by the
    address that the holder of the lock is sent to."""

    request: Any  # a Request; each mode knows which
    message: bytes
    shape: Shape | None = None
    on_lock_socket: bool = False


_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class _Kinds:
    """The requests that may come one way, and how they are read."""

    def __init__(self, kinds: Iterable[type[Request] | None]) -> None:
        self._kinds = {kind.mode: kind for kind in kinds if kind is not None}
        self._union: Any = reduce(or_, self._kinds.values())

    @cached_property
    def _decode(self) -> Callable[[bytes], Request]:
        # Built when it is first used: a client reads no request, and its import is measured.
        decode: Callable[[bytes], Request] = msgspec.json.Decoder(self._union).decode
        return decode

    def read(self, data: bytes, on_lock_socket: bool = False) -> Envelope:
        """Read a message. Raises MessageError if it is not a valid request, and MemoryError."""
        shape = None
        if data.count(b"[") + data.count(b"{") > MESSAGE_DEPTH:  # others cannot be too deep
            shape = checked_shape(data)
        if len(data) > LARGE:
            check_memory(len(data))
        try:
            try:
                request = self._decode(data)
            except msgspec.ValidationError:
                request = self._known_part(data)
                data, shape = _encode(request), None
        except msgspec.ValidationError as error:
            raise MessageError(f"this is not a valid request: {error}") from None
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            shown = bytes(data[:TEXT_SHOWN])
            raise MessageError(f"this is not a JSON message: {error}: {shown!r}") from None
        if request.version == 1:
            # An old client does not say whether there is a tag; an escape may hide its name.
            request.tagged = TAG.encode() in data or _ESCAPE in data
        elif request.version != 2:
            raise MessageError(
                f"version {request.version} of the messages is not known; 1 and 2 are"
            )
        if request.tagged:
            try:
                change_commands(request, from_tags)
            except EncodingError as error:
                raise MessageError(str(error)) from None
        return Envelope(request, data, shape, on_lock_socket)

    def _known_part(self, data: bytes) -> Request:
        """The request without what is not known of it. Raises MessageError and what msgspec
        does."""
        raw = _decode_any(data)
        mode = raw.get("mode") if type(raw) is dict else None
        kind = self._kinds.get(mode) if type(mode) is str else None
        if kind is None:
            if type(mode) is str:
                raise MessageError(f"unknown mode {mode[:TEXT_SHOWN]!r}") from None
            request: Request = msgspec.convert(raw, self._union)  # which says what is wrong
            return request
        known = {name: raw[name] for name in ("mode", *kind.__struct_fields__) if name in raw}
        commands = known.get("commands")
        if type(commands) is list:
            known["commands"] = [
                one[: len(Command.__struct_fields__)] if type(one) is list else one
                for one in commands
            ]
        return msgspec.convert(known, kind)


class _Version(msgspec.Struct):
    version: int = 1


_decode_version = msgspec.json.Decoder(_Version).decode


read_request = _Kinds(mode.request for mode in MODES.values()).read
"""Read what a client sent."""

read_record = _Kinds(mode.record for mode in MODES.values()).read
"""Read what a record of the journal holds."""


def decode_request(message: bytes) -> Any:
    """The request in a message, of the struct of its mode. Raises as `read_request` does."""
    return read_request(message).request


def version_of(data: bytes) -> int:
    """The version that the sender of a bad request speaks, as far as it can be told: 1 or 2."""
    try:
        return 2 if _decode_version(data).version == 2 else 1
    except RecursionError:  # the depth of the rest does not matter here
        return 2 if _SAYS_2.search(data) else 1
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 1


def change_commands(request: Request, change: Callable[[Command], Command]) -> None:
    """Put what ``change`` makes of it in the place of each command of a request."""
    if isinstance(request, Call):
        one = change(request.single())
        request.index, request.args, request.kwargs = one.index, one.args, one.kwargs
    elif isinstance(request, Batch | ExecRecord):
        request.commands = tuple([change(command) for command in request.commands])


def commands_of(request: Request) -> tuple[Command, ...]:
    """The commands of a request."""
    if isinstance(request, Call):
        return (request.single(),)
    return request.commands if isinstance(request, Batch | ExecRecord) else ()


def encode_request(request: Request) -> bytes:
    """Write a request. Raises EncodingError, with the path, for what cannot travel."""
    tagged = False
    if isinstance(request, Call):
        if request.kwargs or not each_is_plain(request.index + request.args, SCALARS):
            single = request.single()
            sent, tagged = to_tags(single)
            if sent is not single:
                request = msgspec.structs.replace(
                    request, index=sent.index, args=sent.args, kwargs=sent.kwargs
                )
    elif isinstance(request, Batch | ExecRecord) and request.commands:
        commands, tagged = all_to_tags(request.commands)
        request = msgspec.structs.replace(request, commands=commands)
    if tagged:
        request.tagged = True
    try:
        return _encode(request)
    except UnicodeEncodeError:
        raise _surrogate_in(request) from None


def _surrogate_in(request: Request) -> EncodingError:
    """Which value it was that has no UTF-8."""
    for command in commands_of(request):
        for value in (command.index, command.func, *command.args, command.kwargs):
            try:
                _encode(value)
            except UnicodeEncodeError:
                return surrogate_error(value, command.target())
    return surrogate_error(request.command if isinstance(request, Exec) else request.client)


def shown(request: Request) -> str:
    """What a request asks for, without any value: what a client says is escaped."""
    if not isinstance(request, Call):
        return f"{request.mode!r}"
    return path_text(request.index) + (f".{request.func!r}" if request.func else "")

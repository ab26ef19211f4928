"""Replies, and the bytes that carry them: one JSON value a message, UTF-8.

Version 1: the reply is the bare JSON value, and an error is a JSON string that holds the
traceback. A result that is a tuple is an array.

Version 2:

    ==========  ==================================================================
    reply       meaning
    ==========  ==================================================================
    value       the result; an array of results for a batch
    tagged      true when the value carries tags (values/tags.py)
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

A field at its default is left out.
"""

from __future__ import annotations

import traceback

import msgspec

from pyzdb.errors import EncodingError, MessageError, OperationError, PyzdbError, from_wire, to_wire
from pyzdb.paths import Key, Value
from pyzdb.protocol.limits import LARGE, RESULT_DEPTH, check_memory
from pyzdb.values.tags import argument_to_wire
from pyzdb.values.tags import from_wire as value_from_wire
from pyzdb.values.tags import to_wire as value_to_wire


class Waiting(msgspec.Struct, omit_defaults=True, gc=False):
    """What a client that waits for the lock is told: to come ``back`` after so many seconds, and
    who the ``holder`` is."""

    back: float = 0.0
    holder: str = ""


class Reply(msgspec.Struct):
    """The answer to one request: a value, a failure, or a reason to come back (``wait``).

    ``failure`` is an error as it travels (see `failed`): a reply that held the error itself would
    lead back to the frame that holds the reply, and no collector runs in a server. ``plain`` is
    True when nothing in the value or failure needs a tag, so that no part of it is looked at.
    """

    value: Value = None
    failure: str | dict[str, Value] | None = None
    wait: str | None = None
    ticket: int = 0
    lock: Waiting | None = None
    plain: bool = False


class WireReply(msgspec.Struct, omit_defaults=True, gc=False):
    """A version 2 reply as it is on the wire; what is read has its exception as the error."""

    value: Value = None
    tagged: bool = False
    error: Value = None
    wait: str | None = None
    ticket: int = 0
    sequence: int = 0
    lock: Waiting | None = None


_decode_reply = msgspec.json.Decoder(WireReply).decode
_encode = msgspec.json.Encoder().encode


def failed(error: BaseException, version: int = 2) -> Reply:
    """The reply to a request that failed, for the version of its client."""
    if version == 1:
        text = "".join(traceback.format_exception(error))
        return Reply(failure=text.encode(errors="replace").decode())
    fields = to_wire(error)
    path, tagged = value_to_wire([_safe(key) for key in fields["path"]], (), RESULT_DEPTH)
    message = fields["message"].encode(errors="replace").decode()
    return Reply(failure=fields | {"message": message, "path": path}, plain=not tagged)


def _safe(key: Key) -> Value:
    """A key that an error may carry: what cannot travel is shown as text."""
    try:
        _encode(argument_to_wire(key)[0])
        return repr(key) if isinstance(key, slice) else key
    except (PyzdbError, UnicodeEncodeError):
        return repr(key).encode(errors="replace").decode()


def encode_reply(reply: Reply, version: int = 2, sequence: int = 0) -> bytes:
    """Write a reply as the version of its request asks for it; always gives a message.

    ``sequence`` (int): the number of the last commit that it shows.
    """
    try:
        return encode_value(reply, version, sequence)
    except PyzdbError as error:
        return encode_value(failed(error, version), version, sequence)


def encode_value(reply: Reply, version: int, sequence: int) -> bytes:
    """Write a reply. Raises EncodingError or OperationError for a value that cannot travel."""
    if reply.failure is not None:
        if version == 1:
            return _encode(reply.failure)
        return _encode(WireReply(error=reply.failure, tagged=not reply.plain, sequence=sequence))
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


def decode_reply(data: bytes | memoryview) -> WireReply:
    """Read a version 2 reply. Raises MessageError if it is not a valid one, and MemoryError."""
    if len(data) > LARGE:
        check_memory(len(data))
    try:
        reply = _decode_reply(data)
        if reply.error is not None:
            if type(reply.error) is not dict:
                raise EncodingError("its error is not an object")
            if reply.tagged:
                reply.error["path"] = value_from_wire(reply.error.get("path"), RESULT_DEPTH)
            reply.error = from_wire(reply.error)
        elif reply.tagged:
            reply.value = value_from_wire(reply.value, RESULT_DEPTH)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, EncodingError) as error:
        raise MessageError(f"this is not a reply of a pyzdb server: {error}") from None
    return reply

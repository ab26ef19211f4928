"""What a message may cost whoever reads it, told before anything is made of it."""

from __future__ import annotations

import mmap

from pyzdb.errors import MessageError
from pyzdb.values.json_text import Shape, shape_of
from pyzdb.values.plain import MAX_DEPTH

MESSAGE_DEPTH = 320
"""Arrays and objects inside one another in a message: 100 levels of values, of which each takes at
most three when it carries a tag, in an envelope of four. A parser's own limit is another one in
every process and version of Python."""

RESULT_DEPTH = MAX_DEPTH + 4
"""Levels of a result or of the path of an error: what is stored may be as deep as the limit, and
lies in arrays more there, as in the pairs of an items() in a batch."""

LARGE = 1 << 20
"""Bytes of a message from which on it is looked whether there is memory for what is in it."""


def checked_shape(message: bytes) -> Shape:
    """The shape of a message. Raises MessageError for one that is too deep."""
    shape = shape_of(message)
    if shape.depth > MESSAGE_DEPTH:
        raise MessageError(f"a message has at most {MESSAGE_DEPTH} levels, and this one has more")
    return shape


def check_memory(size: int) -> None:
    """Raise MemoryError when there is no memory for a text of so many bytes.

    It takes some microseconds. msgspec does not look, and the process would end.
    """
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"no memory for {size} bytes: {error.strerror}") from None

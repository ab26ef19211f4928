"""How much one operation may make, since a short message can ask for a huge result.

Rules this module keeps:

- The size of a result is found from the arguments, before any of it is made: ``'x' * 10**12``.
- A result over a limit is an OverflowError, as Python's own limits are.
"""

from __future__ import annotations

import codecs
import operator
import sys

from pyzdb.paths import Value
from pyzdb.values.plain import MAX_DEPTH, size_of

MAX_BYTES = 100_000_000
"""About the bytes of memory that an operation may make: enough for any page of data, and far
less than the memory of a server."""

MAX_BITS = 100_000
"""Bits of an integer that an operation may make: with a million, a comparison with a Decimal
takes seconds."""

MAX_DIGITS = 1_000
"""Digits of a Decimal that may be raised to a power: 5,000 take seconds."""

DIGIT_BITS = 4
"""Bits that a decimal digit takes at most."""

ENCODINGS = frozenset(
    "ascii cp1252 iso8859-1 utf-16 utf-16-be utf-16-le utf-32 utf-32-be utf-32-le utf-8".split()
)
"""Encodings of text that take the time of its length; Python has others that take its square."""


def check_bytes(size: int) -> None:
    """Raise OverflowError for a result of more than MAX_BYTES."""
    _check(size, MAX_BYTES, "bytes")


def check_bits(bits: int) -> None:
    """Raise OverflowError for an integer of more than MAX_BITS."""
    _check(bits, MAX_BITS, "bits")


def check_digits(digits: int) -> None:
    """Raise OverflowError for the power of a Decimal of more than MAX_DIGITS."""
    _check(digits, MAX_DIGITS, "digits")


def _check(size: int, most: int, unit: str) -> None:
    if size > most:
        # The size may be a number of a million digits, which takes long to write.
        raise OverflowError(f"the result would be too large: the limit is {most:,} {unit}")


def check_encoding(name: str) -> None:
    """Raise LookupError for an encoding that is not one of ENCODINGS."""
    if codecs.lookup(name).name not in ENCODINGS:
        raise LookupError(f"the encoding {name!r} is not one of {sorted(ENCODINGS)}")


def machine_word(value: Value) -> int:
    """An integer argument that Python keeps in a machine word. Raises OverflowError for others."""
    number = operator.index(value)
    if not -sys.maxsize - 1 <= number <= sys.maxsize:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return number


def repeated_bytes(value: Value) -> int:
    """About the bytes that each repetition of a text or a sequence makes."""
    if isinstance(value, str | bytes):
        return len(value)
    return size_of(value, MAX_DEPTH + 1) if isinstance(value, list | tuple) else 0

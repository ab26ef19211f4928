"""What can be done to a value that is not a dict or list, where Python's own does not do as it is.

Rules this module keeps:

- A result that could be far larger than what was sent is checked before it is made (limits.py).
- The rest is as in Python, errors included.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal

from pyzdb.operations.containers import listed
from pyzdb.operations.limits import (
    DIGIT_BITS,
    check_bits,
    check_bytes,
    check_digits,
    check_encoding,
    repeated_bytes,
)
from pyzdb.paths import Value

# --- operators -----------------------------------------------------------------------------


def multiply(left: Value, right: Value) -> Value:
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and times > 1:
            check_bytes(repeated_bytes(value) * times)
    return left * right


def power(left: Value, right: Value, /) -> Value:
    for value in (left, right):
        if isinstance(value, Decimal):
            check_digits(len(value.as_tuple().digits))
    if isinstance(left, int) and isinstance(right, int) and right > 0 and abs(left) > 1:
        check_bits(left.bit_length() * right)
    result = left**right
    if isinstance(result, complex):
        raise ValueError("the result is not a real number")
    return result


def modulo(left: Value, right: Value) -> Value:
    if isinstance(left, str | bytes):
        raise TypeError("a text cannot be formatted here")
    return left % right


def shift_left(left: Value, right: Value) -> Value:
    if isinstance(left, int) and isinstance(right, int) and left:
        check_bits(left.bit_length() + max(0, right))
    return left << right


def to_int(value: Value, /) -> int:
    if isinstance(value, Decimal) and value.is_finite():
        check_bits(value.adjusted() * DIGIT_BITS)
    return int(value)


def rounded(value: Value, digits: Value = None, /) -> Value:
    if digits is None:
        if isinstance(value, Decimal):
            to_int(value)
        return round(value)
    if isinstance(value, int):
        check_bits(abs(operator.index(digits)) * DIGIT_BITS)
    return round(value, digits)


def swapped(call: Callable[..., Value]) -> Callable[..., Value]:
    """An operator whose stored value is on the right."""
    return lambda right, left: call(left, right)


# --- methods of str, bytes and int -----------------------------------------------------------


def padded(method: Callable[..., Value]) -> Callable[..., Value]:
    """A method of str that fills a text up to a width."""

    def pad(value: Value, width: Value, /, *more: Value) -> Value:
        check_bytes(operator.index(width))
        return method(value, width, *more)

    return pad


def replace(value: Value, old: Value, new: Value, count: Value = -1, /) -> Value:
    times = value.count(old)
    if operator.index(count) >= 0:
        times = min(times, count)
    check_bytes(len(value) + times * len(new))
    return value.replace(old, new, count)


def expandtabs(value: Value, /, tabsize: Value = 8) -> Value:
    check_bytes(len(value) + value.count("\t") * max(0, operator.index(tabsize)))
    return value.expandtabs(tabsize)


def join(value: Value, items: Value, /) -> Value:
    parts = listed(items)
    check_bytes(len(value) * len(parts))
    return value.join(parts)


def translate(value: Value, table: Value, /) -> Value:
    new = table.values() if isinstance(table, dict) else table if repeated_bytes(table) else ()
    check_bytes(len(value) * max([len(text) for text in new if isinstance(text, str)], default=1))
    return value.translate(table)


def coded(method: Callable[..., Value]) -> Callable[..., Value]:
    """A method of str or bytes that takes the name of an encoding."""

    def convert(value: Value, /, encoding: Value = "utf-8", errors: Value = "strict") -> Value:
        check_encoding(encoding)
        return method(value, encoding, errors)

    return convert


def to_bytes(
    value: int, /, length: Value = 1, byteorder: Value = "big", *, signed: Value = False
) -> bytes:
    check_bytes(operator.index(length))
    return value.to_bytes(length, byteorder, signed=bool(signed))

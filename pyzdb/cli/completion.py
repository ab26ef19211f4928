"""Which keys complete the path that is being typed, as `db['l'][4]['na` at the end of a line.

Only subscripts of literals are a path here: nothing that was typed is run. The server is asked for
the keys when the user asks for completions, once for each, and only when there are few enough.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from pyzdb.errors import PyzdbError
from pyzdb.paths import Key
from pyzdb.proxy.path import Proxy

MOST_KEYS = 1000
"""More keys are not sent to be completed: nobody reads such a list, and it may be large."""

_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_SUBSCRIPT = rf"\[\s*(?:{_STRING}|[^\[\]'\"]*)\s*\]"
"""One subscript that is a literal: a string, or anything without quotes and brackets (4, -1, None,
a tuple of numbers)."""

_PATH = re.compile(
    rf"""(?<![\w.])db(?P<whole>(?:{_SUBSCRIPT})*)\[\s*(?P<part>'[^']*|"[^"]*|[-\w.]*)$"""
)
"""The path at the end of the text: `db`, whole subscripts, and the beginning of one more."""


class Path(NamedTuple):
    """The path that is being typed: its whole keys, and the text of the key that is not."""

    keys: tuple[Key, ...]
    part: str


def path_at_end(text: str) -> Path | None:
    """Return the path that the text ends in, or None."""
    found = _PATH.search(text)
    if found is None:
        return None
    try:
        keys = tuple(ast.literal_eval(key[1:-1].strip()) for key in _keys(found["whole"]))
    except (ValueError, SyntaxError):
        return None
    return Path(keys, found["part"])


def completions(db: Proxy, path: Path) -> Iterator[str]:
    """Give the texts, closing bracket included, that can stand in place of the path's part.

    Nothing is given when the server does not answer, or when there is no dict at the path.
    """
    for key in _keys_at(db, path.keys):
        text = _literal(key, path.part[:1])
        if text.startswith(path.part):
            yield text + "]"


def _keys(subscripts: str) -> list[str]:
    return re.findall(_SUBSCRIPT, subscripts)


def _keys_at(db: Proxy, keys: tuple[Key, ...]) -> list[Key]:
    for key in keys:
        db = db[key]
    try:
        found: list[Key] = db.keys() if len(db) <= MOST_KEYS else []
        return found
    except PyzdbError:
        return []


def _literal(key: Key, quote: str) -> str:
    """Return Python's text of a key, a string in the quotes that were begun."""
    text = repr(key)
    if quote == '"' and isinstance(key, str) and text.startswith("'"):
        return '"' + text[1:-1].replace('"', '\\"') + '"'
    return text

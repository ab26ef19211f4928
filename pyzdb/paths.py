"""A path in the tree, what it is made of and leads to, and how it is shown."""

from __future__ import annotations

from typing import Any, TypeAlias

Value: TypeAlias = Any
"""What is stored, or can be: its type is known when it is there, and not before."""

Key: TypeAlias = Any
"""One step of a path: whatever can be stored and be a key, an index, or a slice."""

Path: TypeAlias = tuple[Key, ...]

KEY_LENGTH = 60
"""Characters of one key that an error shows; a longer key is cut."""


def key_text(key: Key) -> str:
    """``repr(key)``, cut where it is long; also for a key that has no ``repr``."""
    try:
        text = repr(key)
    except ValueError:  # an integer of more digits than Python writes
        text = f"<a large {type(key).__name__}>"
    return text if len(text) <= KEY_LENGTH else text[: KEY_LENGTH - 3] + "..."


def path_text(path: Path) -> str:
    """Write a path as the user would type it: ``db['l'][4]``."""
    parts = []
    for key in path:
        if isinstance(key, slice):
            ends = ["" if end is None else key_text(end) for end in (key.start, key.stop)]
            text = ":".join(ends) + ("" if key.step is None else f":{key_text(key.step)}")
        else:
            text = key_text(key)
        parts.append(f"[{text}]")
    return "db" + "".join(parts)

"""The order of the keys of a dict, kept at a cost that grows with the dict only once.

A dict does not know the positions of its keys: to find one is to go through the keys, and what is
added comes last. So a step that drops or brings back many keys of one large dict would go through
it for each. Here it is gone through once.

Rules this module keeps:

- The order is exactly the one that doing each by itself would give.
- The values of a dict are right after each edit; only the order waits for ``finish``. So a path
  can be walked in between.
- A key is met as it is stored: 1 and True are one key, and a NaN is a key of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from operator import indexOf, itemgetter

from pyzdb.paths import Key, Value

PATIENCE = 8
"""How many times the keys of a dict are gone through before it pays to number them all."""

MOVED = 3
"""Keys behind the first change, for each one before it, up to which it is quicker to move them than
to fill the dict again."""


class Slots:
    """Numbered slots, all free at first, of which the free ones are counted (a Fenwick tree)."""

    __slots__ = ("_free",)

    def __init__(self, size: int) -> None:
        # The entry i counts the i & -i slots that end with the one before i.
        free = [1]
        while len(free) <= size:
            free += free
            free[-1] *= 2
        self._free = [0, *free[:size]]

    def free_before(self, slot: int) -> int:
        """How many slots before this one are free."""
        free, before = self._free, 0
        while slot:
            before += free[slot]
            slot &= slot - 1
        return before

    def find(self, before: int) -> int:
        """The free slot before which ``before`` others are free."""
        free, slot = self._free, 0
        step = 1 << (len(free) - 1).bit_length()
        while step := step >> 1:
            end = slot + step
            if end < len(free) and free[end] <= before:
                slot = end
                before -= free[end]
        return slot

    def take(self, slot: int) -> None:
        """Make a free slot a taken one."""
        free = self._free
        slot += 1
        while slot < len(free):
            free[slot] -= 1
            slot += slot & -slot

    def append(self) -> None:
        """Have one more slot at the end, free."""
        free = self._free
        slot = len(free)
        first, number, below = slot & (slot - 1), 1, slot - 1
        while below > first:
            number += free[below]
            below &= below - 1
        free.append(number)


class _Numbered:
    """The keys of one dict, numbered as soon as that pays."""

    __slots__ = ("_drops", "_keys", "_looks", "_slot_of", "_slots", "container")

    def __init__(self, container: dict[Key, Value]) -> None:
        self.container = container
        self._looks = 0
        self._drops = 0
        self._keys: list[Value] = []
        self._slot_of: dict[Key, int] = {}
        self._slots: Slots | None = None

    def take(self, key: Key) -> tuple[Value, int]:
        """The key as it is stored, which is now taken as dropped, and its position."""
        container = self.container
        if self._slots is None:
            if self._looks <= PATIENCE * len(container):
                position = indexOf(container, key)
                self._drops += 1  # each leaves a hole, which is gone through too
                self._looks += position + self._drops
                return next(islice(container, position, None)), position
            self._number()
        return self._take_slot(key)

    def take_last(self, key: Key) -> None:
        """Take the last key as dropped; its position is not needed."""
        if self._slots is not None:
            self._take_slot(key)

    def _number(self) -> None:
        self._keys = list(self.container)
        self._slot_of = dict(zip(self._keys, count()))
        self._slots = Slots(len(self._keys))

    def _take_slot(self, key: Key) -> tuple[Value, int]:
        slots = self._slots
        assert slots is not None
        # What was added since came last.
        new = len(self.container) - len(self._slot_of)
        for added in reversed([*islice(reversed(self.container), new)]):
            self._slot_of[added] = len(self._keys)
            self._keys.append(added)
            slots.append()
        slot = self._slot_of.pop(key)
        slots.take(slot)
        return self._keys[slot], slots.free_before(slot)


class Positions:
    """The positions of the keys that one request drops.

    It must be told of every key that is dropped and every dict that is cleared; keys that are added
    at the end it finds by itself.
    """

    __slots__ = ("_numbered",)

    def __init__(self) -> None:
        self._numbered: dict[int, _Numbered] = {}

    def take(self, container: dict[Key, Value], key: Key) -> tuple[Value, int | None]:
        """A key that is in a dict, as it is stored, and its position (None: it is the last). It
        must be dropped then."""
        numbered = self._numbered.get(id(container))
        last = next(reversed(container))
        if last is key or last == key:
            if numbered is not None:
                numbered.take_last(last)
            return last, None
        if numbered is None:
            # It holds the dict, so no other one gets its id.
            numbered = self._numbered[id(container)] = _Numbered(container)
        return numbered.take(key)

    def forget(self, container: Value) -> None:
        """A dict is being cleared."""
        self._numbered.pop(id(container), None)

    def clear(self) -> None:
        """Forget all, after changes that it was not told of."""
        self._numbered.clear()


class Reordering:
    """Keys that are brought back to their positions in one dict, the newest change first.

    In the dict itself they wait behind the others for ``finish``, in the order in which they came.
    """

    __slots__ = ("_added", "_container", "_kept", "_size")

    def __init__(self, container: dict[Key, Value]) -> None:
        self._container = container
        self._size = len(container)
        self._kept = len(container)  # before this position nothing has changed
        self._added: list[int] = []

    def add(self, key: Key, value: Value, position: int | None) -> None:
        """Add a key before the one that is at ``position`` now, None: at the end."""
        container = self._container
        if position is None:
            position = len(container)
        self._added.append(position)
        self._kept = min(self._kept, position)
        container[key] = value

    def drop(self, key: Key) -> None:
        """Remove the key that is the last."""
        del self._container[key]
        self._kept = min(self._kept, len(self._container))

    def finish(self) -> None:
        """Put the keys into their order."""
        container, kept = self._container, self._kept
        behind = len(container) - kept
        slots = [slot for slot in self._slots() if slot < behind]
        if behind <= MOVED * kept:
            keys = [*islice(reversed(container), behind)]
            keys.reverse()
            keys = _woven(keys, slots)
            values = [*map(container.pop, keys)]
            container.update(zip(keys, values, strict=True))
        else:
            positions = [kept + slot for slot in slots]
            keys = _woven(list(container), positions)
            values = _woven(list(container.values()), positions)
            container.clear()
            container.update(zip(keys, values, strict=True))

    def _slots(self) -> list[int]:
        """The final position of each added key, counted from the first where something changed. A
        key that was dropped again has one that is too large."""
        kept = self._kept
        if len(self._added) == 1:
            return [self._added[0] - kept]
        # From the newest change back, each takes its slot among those that are still free.
        free = Slots(self._size - kept + len(self._added))
        slots = []
        for position in reversed(self._added):
            slot = free.find(position - kept)
            free.take(slot)
            slots.append(slot)
        slots.reverse()
        return slots


def _woven(items: list[Value], positions: list[int]) -> list[Value]:
    """Items of which the last get ``positions`` among all."""
    first = len(items) - len(positions)
    woven: list[Value] = []
    start = 0
    for position, item in sorted(zip(positions, items[first:], strict=True), key=itemgetter(0)):
        stop = start + position - len(woven)
        woven += items[start:stop]
        woven.append(item)
        start = stop
    woven += items[start:first]
    return woven


class Orders:
    """Undoes many edits, and puts the keys of each dict into their order once, at the end.

    ``apply`` does an edit by itself.
    """

    __slots__ = ("_apply", "_open")

    def __init__(self, apply: Callable[[Value, tuple[Value, ...]], None]) -> None:
        self._apply = apply
        self._open: dict[int, Reordering] = {}

    def apply(self, container: Value, edit: tuple[Value, ...]) -> None:
        """Do one edit to a container."""
        kind = edit[0]
        order = self._open.get(id(container))
        if order is None and kind == "add" and edit[3] is not None:
            order = self._open[id(container)] = Reordering(container)
        if order is None or kind == "set":
            self._apply(container, edit)
        elif kind == "add":
            order.add(*edit[1:])
        elif kind == "drop" and edit[1] in container:
            order.drop(edit[1])
        else:
            # It needs the order: a NaN read from a snapshot is found as the last key only.
            del self._open[id(container)]
            order.finish()
            self._apply(container, edit)

    def finish(self) -> None:
        """Put all keys into their order."""
        for order in self._open.values():
            order.finish()
        self._open.clear()

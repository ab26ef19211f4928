"""Decide whether what clients saw could come from one copy that does one operation at a time.

A history is linearizable when each operation can be given a moment between its call and its return
such that, done in the order of these moments, every operation gives the result that its client saw
(Herlihy and Wing, 1990). Rules:

- An operation whose outcome is unknown may take effect at any moment after its call, or never.
- A history is linearizable when the operations on each key alone are, so each key is checked alone.

The search is that of Wing and Gong (1993) with Lowe's memory (2017): it does the operations one
after another in an order that their times allow, goes back when a result does not fit, and never
goes on twice from the same state with the same operations done. Operations of unknown outcome
would make it slow, as each may be done or not: those that nobody saw are left out, and equal ones
are done in the order of their calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One operation of one client; times are of one clock. ``returned`` is None when the outcome
    is unknown, and ``result`` is meaningless then."""

    key: Hashable
    action: str
    argument: Any
    called: float
    returned: float | None
    result: Any = None


class Model(NamedTuple):
    """What one key holds: how it begins, and ``step(state, action, argument)``, which returns the
    state after an operation and its result. States can be hashed.

    ``storing`` is the action after which every result shows the argument, alone or in a tuple,
    until other operations hide it again.
    """

    initial: Hashable
    step: Callable[[Any, str, Any], tuple[Any, Any]]
    storing: str | None = None


EMPTY = "empty"
"""The result of a pop from a list that has nothing."""


def _register(state: Any, action: str, argument: Any) -> tuple[Any, Any]:
    return (argument, None) if action == "write" else (state, state)


def _counter(state: int, action: str, argument: int) -> tuple[int, Any]:
    return (state + argument, None) if action == "add" else (state, state)


def _list(state: tuple[Any, ...], action: str, argument: Any) -> tuple[tuple[Any, ...], Any]:
    if action == "append":
        return (*state, argument), None
    if action == "pop":
        return (state[:-1], state[-1]) if state else (state, EMPTY)
    return state, state


REGISTER = Model(0, _register, "write")
"""Starts with 0; "write" and "read"."""

COUNTER = Model(0, _counter)
"""Starts with 0; "add" and "read"."""

LIST = Model((), _list, "append")
"""Starts empty; "append", "pop", which returns the last item or EMPTY, and "read", a tuple."""


def misfits(history: Iterable[Operation], models: Mapping[Any, Model]) -> dict[Hashable, Operation]:
    """Check a history: return one operation that does not fit for each key where one does not."""
    by_key: dict[Hashable, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    found = {key: misfit(operations, models[key]) for key, operations in by_key.items()}
    return {key: operation for key, operation in found.items() if operation is not None}


def misfit(operations: Sequence[Operation], model: Model) -> Operation | None:
    """Check the operations on one key.

    Returns None when they are linearizable, and otherwise an operation that fits nowhere: of all
    orders that were tried, the one that went furthest stops before it.
    """
    known = [one for one in operations if one.returned is not None]
    unknown = [one for one in operations if one.returned is None and _may_show(one, known, model)]
    unknown.sort(key=lambda one: one.called)
    return _Search(known, unknown, model).run()


def _may_show(operation: Operation, known: list[Operation], model: Model) -> bool:
    """Tell whether it makes a difference if an operation of unknown outcome was done."""
    if operation.action == "read":
        return False
    if operation.action != model.storing:
        return True
    value = operation.argument
    return any(
        value in one.result if isinstance(one.result, tuple) else value == one.result
        for one in known
    )


class _Search:
    """The calls and returns that are still to be done, in the order of their times, as a linked
    list: an event is a place in that order, and place 0 is the head.

    Of two events at the same time a call comes before a return: the two may have overlapped.
    """

    def __init__(self, known: list[Operation], unknown: list[Operation], model: Model) -> None:
        self.operations = [*known, *unknown]
        self.known = len(known)
        self.model = model
        events = [(one.called, 0, number) for number, one in enumerate(self.operations)]
        for number, one in enumerate(known):
            assert one.returned is not None
            events.append((one.returned, 1, number))
        events.sort()
        self.number = [-1, *(number for _, _, number in events)]
        self.is_return = [False, *(bool(kind) for _, kind, _ in events)]
        self.return_of = {
            number: place for place, number in enumerate(self.number) if self.is_return[place]
        }
        places = len(self.number)
        self.next: list[int] = [*range(1, places), 0]
        self.previous = [places - 1, *range(places - 1)]
        # For an operation of unknown outcome, the equal one that was called just before it.
        self.equal_before: dict[int, int] = {}
        last: dict[tuple[str, Any], int] = {}
        for number, one in enumerate(unknown, self.known):
            effect = (one.action, one.argument)
            if effect in last:
                self.equal_before[number] = last[effect]
            last[effect] = number

    def run(self) -> Operation | None:
        """Search for an order; see ``misfit``."""
        state: Any = self.model.initial
        done = 0
        left = self.known
        seen: set[tuple[int, Any]] = set()
        taken: list[tuple[int, Any]] = []  # places, each with the state before it
        furthest = 0
        place = self.next[0]
        # While a known operation is left, its return is in the list, and the walk ends there.
        while left:
            number = self.number[place]
            if self.is_return[place]:
                # This operation had returned before anything that follows was called.
                furthest = max(furthest, place)
                if not taken:
                    return self.operations[self.number[furthest]]
                place, state = taken.pop()
                number = self.number[place]
                self._put_back(place)
                done ^= 1 << number
                left += number < self.known
            else:
                after = self._after(number, state, done)
                if after is not None and after not in seen:
                    seen.add(after)
                    taken.append((place, state))
                    self._take(place)
                    done, state = after
                    left -= number < self.known
                    place = 0
            place = self.next[place]
        return None

    def _after(self, number: int, state: Any, done: int) -> tuple[int, Any] | None:
        """What is done, and the state, after one more operation; None when it does not fit."""
        one = self.operations[number]
        before = self.equal_before.get(number)
        if before is not None and not done >> before & 1:
            return None
        after, result = self.model.step(state, one.action, one.argument)
        # One of unknown outcome that changes nothing is the same as one that is never done.
        if result != one.result if number < self.known else after == state:
            return None
        return done | 1 << number, after

    def _take(self, place: int) -> None:
        for each in (place, self.return_of.get(self.number[place])):
            if each is not None:
                self.next[self.previous[each]] = self.next[each]
                self.previous[self.next[each]] = self.previous[each]

    def _put_back(self, place: int) -> None:
        # In the opposite order, so that each finds its neighbours as it left them.
        for each in (self.return_of.get(self.number[place]), place):
            if each is not None:
                self.next[self.previous[each]] = each
                self.previous[self.next[each]] = each

"""Commands, which say what to do at one place of the tree, and how JSON carries them."""

from __future__ import annotations

from operator import attrgetter
from typing import ClassVar

import msgspec

from pyzdb.paths import Path, Value
from pyzdb.values.plain import SCALARS, each_is_plain
from pyzdb.values.tags import argument_from_wire, argument_to_wire, from_wire, to_wire

_AT_A_KEY = frozenset({"__getitem__", "__setitem__", "__delitem__"})

_kwargs_of = attrgetter("kwargs")


class Command(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    """What to do at one place of the tree: walk ``index``, then call ``func`` there."""

    index: Path = ()
    func: str | None = None
    args: tuple[Value, ...] = ()
    kwargs: dict[str, Value] = {}

    def place(self) -> Path:
        """Where its error is and its step: at the key, for the functions that take one."""
        if self.func in _AT_A_KEY and self.args:
            return self.index + self.args[:1]
        return self.index

    def target(self) -> Path:
        """Where its values go: what is wrong with them is told with this path."""
        args = self.args
        if self.func == "__setitem__" and args and type(args[0]) in (str, int):
            return (*self.index, args[0])
        return self.index


class Get(msgspec.Struct, array_like=True, gc=False):
    """What only fetches what is at a place: a `Command` that is sent without its last fields."""

    index: Path = ()

    func: ClassVar[None] = None
    args: ClassVar[tuple[Value, ...]] = ()
    kwargs: ClassVar[dict[str, Value]] = {}

    def target(self) -> Path:
        """As of a `Command`."""
        return self.index


def to_tags(command: Command | Get) -> tuple[Command | Get, bool]:
    """The command as JSON carries it, the same object if nothing in it needs a tag, and whether
    something does. Raises EncodingError, with the path."""
    index = command.index
    if (
        not command.kwargs
        and each_is_plain(index, SCALARS)
        and each_is_plain(command.args, SCALARS)
    ):
        return command, False
    wire_index: list[Value] = []
    changed = tagged = False
    for depth, key in enumerate(index):
        wire, key_tagged = argument_to_wire(key, index[:depth])
        wire_index.append(wire)
        changed = changed or wire is not key
        tagged = tagged or key_tagged
    path = command.target()
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
            kwargs[name], value_tagged = to_wire(value, index)
            tagged = tagged or value_tagged
        changed = True
    if not changed:
        return command, tagged
    return Command(tuple(wire_index), command.func, tuple(wire_args), kwargs), tagged


def all_to_tags(commands: tuple[Command | Get, ...]) -> tuple[tuple[Value, ...], bool]:
    """What `to_tags` makes of many commands, for most of which one look at all their values is
    enough."""
    values = [value for command in commands for value in command.index]
    values += [value for command in commands if command.args for value in command.args]
    if each_is_plain(values, SCALARS) and not any(map(_kwargs_of, commands)):
        return commands, False
    tagged = False
    sent = list(commands)
    for number, command in enumerate(commands):
        sent[number], command_tagged = to_tags(command)
        tagged = tagged or command_tagged
    return tuple(sent), tagged


def from_tags(command: Command) -> Command:
    """The command with the values that its tags stand for. Raises EncodingError."""
    return Command(
        tuple([argument_from_wire(key) for key in command.index]),
        command.func,
        tuple([argument_from_wire(value) for value in command.args]),
        # The names are taken as they stand, whatever they are.
        {name: from_wire(value, keep=True) for name, value in command.kwargs.items()},
    )

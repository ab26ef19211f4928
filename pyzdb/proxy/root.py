"""Lazy paths: ``db['l'][4]`` records a path and sends nothing.

Rules this module keeps:

- A path is immutable: each subscript makes a new proxy.
- A query is sent by `_run()`, by iteration, by an assignment or `del`, by an operator or a
  comparison, by `str()` and `format()`, and by calling a method; each is one command, and what is
  written is the path that the server takes.
- No name that begins with an underscore is ever sent as a method, so Python's own look-ups
  (copy, pickle, an editor's) send nothing.
- No I/O here: commands go to a `Service`, which a client has over a socket, and a server, for the
  code that it runs, in itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from pyzdb.errors import PyzdbError
from pyzdb.operations.table import TABLE
from pyzdb.paths import Path, path_text
from pyzdb.protocol.commands import Command, Get
from pyzdb.values.types import Lazy

FUNCTIONS = frozenset(name for functions in TABLE.values() for name in functions)
"""Every function that some type has: a name that is none is an error before anything is sent."""


class Service(Protocol):
    """Where the commands of proxies go."""

    def fetch(self, index: Path) -> Any:
        """Return what is at a path, or raise why there is nothing."""

    def query(self, command: Command) -> Any:
        """Do one command and return its result, or raise its error."""

    def batch(self, commands: tuple[Command | Get, ...]) -> list[Any]:
        """Do all commands or none, and return their results."""
        ...

    def lock(self, timeout: float | None, lease: float | None) -> None:
        """Wait for the lock of the whole tree."""

    def unlock(self) -> None:
        """Give the lock back."""


def _operator(name: str) -> Callable[..., Any]:
    def operate(self: Proxy, *operands: Any) -> Any:
        return self._call(name, *operands)

    operate.__name__ = name
    return operate


def _in_place(name: str) -> Callable[..., Any]:
    def operate(self: Proxy, operand: Any) -> Any:
        self._call(name, operand)
        return self  # Python now assigns this to the same path, which does nothing

    operate.__name__ = name
    return operate


def _conversion(name: str, kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def convert(self: Proxy) -> Any:
        # Python insists on the kind here; a result of a batch says by this why there is none.
        return kind(self._call(name))

    convert.__name__ = name
    return convert


class Proxy(Lazy, msgspec.Struct, eq=False):
    """A place in the tree, which need not exist."""

    # A struct, since a path makes one at every subscript.
    _service: Any  # a Service, or what collects for one
    _index: Path = ()

    def _run(self) -> Any:
        """Fetch what is stored here."""
        return self._service.fetch(self._index)

    def _call(self, func: str, *args: Any, **kwargs: Any) -> Any:
        return self._service.query(Command(self._index, func, args, kwargs))

    def __getitem__(self, key: Any) -> Proxy:
        return Proxy(self._service, (*self._index, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        # The second half of `db['x'] += 1`, whose first half did the work.
        if (
            type(value) is Proxy
            and value._service is self._service
            and value._index == (*self._index, key)
        ):
            return
        self._service.query(Command(self._index, "__setitem__", (key, value)))

    def __delitem__(self, key: Any) -> None:
        self._call("__delitem__", key)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._call("__iter__"))

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._call("__reversed__"))

    def __len__(self) -> int:
        length: int = self._call("__len__")
        return length

    def __contains__(self, value: object) -> bool:
        contained: bool = self._call("__contains__", value)
        return contained

    def __repr__(self) -> str:
        return path_text(self._index)

    def __str__(self) -> str:
        return str(self._shown())

    def __format__(self, spec: str) -> str:
        # What is stored is formatted, never taken for a template: that would lead to attributes.
        return format(self._shown(), spec)

    def _shown(self) -> Any:
        value = self._run()
        return value._unknown() if type(value) is Result else value

    def __reduce__(self, *_: object) -> Any:
        raise TypeError(f"{self!r} stands for what a server stores and cannot be pickled")

    __copy__ = __reduce__

    # Equality asks the server, so there is no hash that could agree with it.
    __hash__ = None  # type: ignore[assignment]  # how Python marks what has none
    __eq__ = _operator("__eq__")
    __ne__ = _operator("__ne__")
    __lt__ = _operator("__lt__")
    __le__ = _operator("__le__")
    __gt__ = _operator("__gt__")
    __ge__ = _operator("__ge__")
    __bool__ = _conversion("__bool__", bool)

    __add__ = _operator("__add__")
    __sub__ = _operator("__sub__")
    __mul__ = _operator("__mul__")
    __truediv__ = _operator("__truediv__")
    __floordiv__ = _operator("__floordiv__")
    __mod__ = _operator("__mod__")
    __divmod__ = _operator("__divmod__")
    __pow__ = _operator("__pow__")
    __and__ = _operator("__and__")
    __or__ = _operator("__or__")
    __xor__ = _operator("__xor__")
    __lshift__ = _operator("__lshift__")
    __rshift__ = _operator("__rshift__")

    __radd__ = _operator("__radd__")
    __rsub__ = _operator("__rsub__")
    __rmul__ = _operator("__rmul__")
    __rtruediv__ = _operator("__rtruediv__")
    __rfloordiv__ = _operator("__rfloordiv__")
    __rmod__ = _operator("__rmod__")
    __rdivmod__ = _operator("__rdivmod__")
    __rpow__ = _operator("__rpow__")
    __rand__ = _operator("__rand__")
    __ror__ = _operator("__ror__")
    __rxor__ = _operator("__rxor__")
    __rlshift__ = _operator("__rlshift__")
    __rrshift__ = _operator("__rrshift__")

    __iadd__ = _in_place("__iadd__")
    __isub__ = _in_place("__isub__")
    __imul__ = _in_place("__imul__")
    __itruediv__ = _in_place("__itruediv__")
    __ifloordiv__ = _in_place("__ifloordiv__")
    __imod__ = _in_place("__imod__")
    __ipow__ = _in_place("__ipow__")
    __iand__ = _in_place("__iand__")
    __ior__ = _in_place("__ior__")
    __ixor__ = _in_place("__ixor__")
    __ilshift__ = _in_place("__ilshift__")
    __irshift__ = _in_place("__irshift__")

    __neg__ = _operator("__neg__")
    __pos__ = _operator("__pos__")
    __abs__ = _operator("__abs__")
    __invert__ = _operator("__invert__")
    __round__ = _operator("__round__")
    __int__ = _conversion("__int__", int)
    __float__ = _conversion("__float__", float)
    __index__ = _conversion("__index__", operator.index)


class Method:
    """A function at a place of the tree, to be called."""

    __slots__ = ("_name", "_proxy")

    def __init__(self, proxy: Proxy, name: str) -> None:
        self._proxy = proxy
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._proxy._call(self._name, *args, **kwargs)

    def __repr__(self) -> str:
        return f"{self._proxy!r}.{self._name}"


class _Function:
    """A function as an attribute of every path."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, proxy: Proxy | None, owner: type) -> Any:
        return self if proxy is None else Method(proxy, self._name)


# With `__getattr__` in their place, Python would take a longer way to every attribute.
for _name in FUNCTIONS:
    if not _name.startswith("_"):
        setattr(Proxy, _name, _Function(_name))


class Root(Proxy):
    """The whole tree, and what is done to it as a whole."""

    def undo(self, steps: int = 1) -> None:
        """Take back the newest steps. Raises HistoryError when there are fewer."""
        self._call("undo", steps)

    def redo(self, steps: int = 1) -> None:
        """Do undone steps again. Raises HistoryError when there are fewer."""
        self._call("redo", steps)

    def history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The steps that can be undone, the newest first, at most ``limit``.

        Each is a dict: "what" (function), "where" (path as text), "when" (datetime, UTC), "who"
        (id of the client).
        """
        steps: list[dict[str, Any]] = self._call("history", limit)
        return steps

    def save(self) -> None:
        """Write the whole tree to its file; when this returns, the file is whole and new."""
        self._call("save")

    def lock(self, timeout: float | None = None, lease: float | None = None) -> Lock:
        """Have the tree for this thread alone, reads included, until `unlock()`.

        Also for `with db.lock():`. ``timeout`` (seconds, default: that of the connection) is
        how long to wait: LockTimeout. ``lease`` (seconds, default 30) is how long the lock
        stays when it is not used.
        """
        self._service.lock(timeout, lease)
        return Lock(self._service)

    def unlock(self) -> None:
        """Give the lock back. Raises LockError when this thread does not hold it."""
        self._service.unlock()

    def batch(self) -> Batch:
        """Collect commands in a `with` block and send them as one message at its end.

        All of them are done or none, as one step of the history. An error tells the number of
        its command, from 0 on, and nothing is sent when the block itself raises.
        """
        return Batch(_Collector(self._service))


class Lock:
    """A lock that is held; leaving a `with` block gives it back."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._service.unlock()
        except PyzdbError:
            # Why the block failed is the better answer, if it did.
            if error is None:
                raise

    def __repr__(self) -> str:
        return "<lock of db>"


class Result(msgspec.Struct, eq=False, gc=False):
    """What a command of a batch will give: ``value``, once the block has ended."""

    # A struct, since a thousand objects that Python's collector watches cost more than the rest.
    _known: Any = msgspec.UNSET

    @property
    def value(self) -> Any:
        """The result of the command. Raises RuntimeError as long as it is not known."""
        known = self._known
        return self._unknown() if known is msgspec.UNSET else known

    def _unknown(self, *_: object) -> Any:
        if self._known is not msgspec.UNSET:
            raise RuntimeError("a result of a batch is not the value itself: ask for .value")
        raise RuntimeError(
            "the result of a command in a batch is not known before the block has ended "
            "without an error: the commands are sent then"
        )

    def __repr__(self) -> str:
        known = self._known
        return "<result, not known yet>" if known is msgspec.UNSET else f"<result {known!r}>"

    # A block that looks at a result would decide on something that is not there.
    __bool__ = __index__ = __iter__ = __len__ = __getitem__ = __contains__ = _unknown
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = _unknown
    __eq__ = _unknown
    __ne__ = _unknown
    __hash__ = object.__hash__


_ONE_BLOCK = (
    "a batch collects commands in one `with` block and sends them at its end, so nothing can be "
    "asked of it before or after; begin another one with db.batch()"
)


class _Collector:
    """The service behind a batch: keeps its commands until it ends."""

    def __init__(self, target: Service) -> None:
        self._target = target
        self._commands: list[Command | Get] = []
        self._results: list[Result] = []
        self._is_open: bool | None = None

    def fetch(self, index: Path) -> Result:
        return self.query(Get(index))

    def query(self, command: Command | Get) -> Result:
        if not self._is_open:
            raise RuntimeError(_ONE_BLOCK)
        result = Result()
        self._commands.append(command)
        self._results.append(result)
        return result

    def begin(self) -> None:
        if self._is_open is not None:
            raise RuntimeError(_ONE_BLOCK)
        self._is_open = True

    def end(self, send: bool) -> None:
        self._is_open = False
        if send and self._commands:
            values = self._target.batch(tuple(self._commands))
            for result, value in zip(self._results, values, strict=True):
                result._known = value


class Batch(Proxy):
    """The tree within `with db.batch() as batch:`; every command gives a `Result`."""

    def __enter__(self) -> Batch:
        self._service.begin()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._service.end(send=error is None)

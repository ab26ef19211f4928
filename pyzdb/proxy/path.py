"""Lazy paths: ``db['l'][4]`` records a path and sends nothing.

Rules this module keeps:

- A path is immutable: each subscript makes a new proxy.
- A query is sent by `fetch()` or `_run()`, by iteration, by an assignment or `del`, by an operator
  or a comparison, by `str()` and `format()`, and by calling a method; each is one command, and what
  is written is the path that the server takes.
- No name that begins with an underscore is ever sent as a method, so Python's own look-ups
  (copy, pickle, an editor's) send nothing.
- Every function that some type has is declared here, so that an editor and a type checker know it,
  and that there is no other; a test ties them to the table of operations.
- No I/O here: commands go to a service, which a client has over a socket, and a server, for the
  code that it runs, in itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol, TypeVar, overload

import msgspec

from pyzdb.paths import Key, Path, Value, path_text
from pyzdb.protocol.commands import Command
from pyzdb.proxy.result import Result
from pyzdb.values.types import Lazy

T = TypeVar("T")


class Queries(Protocol):
    """Where the commands of a path go."""

    def fetch(self, index: Path) -> Value:
        """Return what is at a path, or raise why there is nothing."""
        ...

    def query(self, command: Command) -> Value:
        """Do one command and return its result, or raise its error."""
        ...


def _operator(name: str) -> Callable[..., Value]:
    def operate(self: Proxy, *operands: Value) -> Value:
        return self._call(name, *operands)

    operate.__name__ = name
    return operate


def _in_place(name: str) -> Callable[..., Value]:
    def operate(self: Proxy, operand: Value) -> Proxy:
        self._call(name, operand)
        return self  # Python now assigns this to the same path, which does nothing

    operate.__name__ = name
    return operate


def _conversion(name: str, kind: Callable[[Value], T]) -> Callable[[Proxy], T]:
    def convert(self: Proxy) -> T:
        # Python insists on the kind here; a result of a batch says by this why it is not there.
        return kind(self._call(name))

    convert.__name__ = name
    return convert


class Method:
    """A function at a place of the tree, to be called."""

    __slots__ = ("_name", "_proxy")

    def __init__(self, proxy: Proxy, name: str) -> None:
        self._proxy = proxy
        self._name = name

    def __call__(self, *args: Value, **kwargs: Value) -> Value:
        return self._proxy._call(self._name, *args, **kwargs)

    def __repr__(self) -> str:
        return f"{self._proxy!r}.{self._name}"


class Pairs(Method):
    """A function whose result is pairs: tuples, as Python has them, where the wire has arrays."""

    __slots__ = ()

    def __call__(self, *args: Value, **kwargs: Value) -> Value:
        pairs = super().__call__(*args, **kwargs)
        return pairs.then(_tuples) if type(pairs) is Result else _tuples(pairs)


def _tuples(pairs: list[Value]) -> list[tuple[Value, ...]]:
    return [tuple(pair) for pair in pairs]


class Function:
    """A function as an attribute of every path; ``kind`` is what it becomes there."""

    # With `__getattr__` in their place, Python would take a longer way to every attribute.

    __slots__ = ("_kind", "_name")

    def __init__(self, kind: type[Method] = Method) -> None:
        self._kind = kind
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, proxy: None, owner: type) -> Function: ...
    @overload
    def __get__(self, proxy: Proxy, owner: type) -> Method: ...
    def __get__(self, proxy: Proxy | None, owner: type) -> Function | Method:
        return self if proxy is None else self._kind(proxy, self._name)


class Proxy(Lazy, msgspec.Struct, eq=False, frozen=True):
    """A place in the tree, which need not exist."""

    # A struct, since a path makes one at every subscript.
    _service: Queries
    _index: Path = ()

    def _run(self) -> Value:
        """Fetch what is stored here."""
        return self._service.fetch(self._index)

    def fetch(self) -> Value:
        """Fetch what is stored here, as `_run()` does."""
        return self._service.fetch(self._index)

    def _call(self, func: str, *args: Value, **kwargs: Value) -> Value:
        return self._service.query(Command(self._index, func, args, kwargs))

    def __getitem__(self, key: Key) -> Proxy:
        return Proxy(self._service, (*self._index, key))

    def __setitem__(self, key: Key, value: Value) -> None:
        # The second half of `db['x'] += 1`, whose first half did the work.
        if (
            type(value) is Proxy
            and value._service is self._service
            and value._index == (*self._index, key)
        ):
            return
        self._service.query(Command(self._index, "__setitem__", (key, value)))

    def __delitem__(self, key: Key) -> None:
        self._call("__delitem__", key)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._call("__iter__"))

    def __reversed__(self) -> Iterator[Value]:
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

    def _shown(self) -> Value:
        value = self._run()
        return value._unknown() if type(value) is Result else value

    def __reduce__(self, *_: object) -> NoReturn:
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

    # The functions of the table, whatever type has them.
    append = Function()
    as_integer_ratio = Function()
    bit_count = Function()
    bit_length = Function()
    capitalize = Function()
    casefold = Function()
    center = Function()
    clear = Function()
    conjugate = Function()
    copy = Function()
    count = Function()
    date = Function()
    decode = Function()
    difference = Function()
    encode = Function()
    endswith = Function()
    expandtabs = Function()
    extend = Function()
    find = Function()
    get = Function()
    hex = Function()
    index = Function()
    insert = Function()
    intersection = Function()
    is_infinite = Function()
    is_integer = Function()
    is_nan = Function()
    is_signed = Function()
    isalnum = Function()
    isalpha = Function()
    isascii = Function()
    isdecimal = Function()
    isdigit = Function()
    isdisjoint = Function()
    isidentifier = Function()
    islower = Function()
    isnumeric = Function()
    isoformat = Function()
    isoweekday = Function()
    isprintable = Function()
    isspace = Function()
    issubset = Function()
    issuperset = Function()
    istitle = Function()
    isupper = Function()
    items = Function(Pairs)
    join = Function()
    keys = Function()
    ljust = Function()
    lower = Function()
    lstrip = Function()
    normalize = Function()
    partition = Function()
    pop = Function()
    popitem = Function()
    quantize = Function()
    remove = Function()
    removeprefix = Function()
    removesuffix = Function()
    replace = Function()
    reverse = Function()
    rfind = Function()
    rindex = Function()
    rjust = Function()
    rpartition = Function()
    rsplit = Function()
    rstrip = Function()
    setdefault = Function()
    sort = Function()
    split = Function()
    splitlines = Function()
    startswith = Function()
    strip = Function()
    swapcase = Function()
    symmetric_difference = Function()
    time = Function()
    timestamp = Function()
    title = Function()
    to_bytes = Function()
    total_seconds = Function()
    translate = Function()
    union = Function()
    update = Function()
    upper = Function()
    values = Function()
    weekday = Function()
    zfill = Function()

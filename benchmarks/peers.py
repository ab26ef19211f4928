"""What could be used instead: Redis, Pyro5, RPyC, ZEO and multiprocessing.Manager.

Each server is a process of its own on the loopback interface (Manager's own choice is a Unix
socket), each client is the package's usual one. Only Redis (appendfsync always) and ZEO (a
commit) have synced a write when they answer it; Pyro5, RPyC and Manager keep nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from multiprocessing.managers import SyncManager
from threading import Thread
from typing import Any

from benchmarks.measuring import Missing, Setup
from benchmarks.processes import LOOPBACK, Work, free_ports, program, repeat


def package(name: str) -> Any:
    """Import a package that only benchmarks need. Raises Missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise Missing(f"{error}: pip install '.[bench]'") from None


@contextmanager
def redis_server(setup: Setup) -> Iterator[int]:
    """Redis with every write synced before it is answered; the context is the port."""
    package("redis")
    command = shutil.which("redis-server")
    if command is None:
        raise Missing("no program redis-server: apt-get install redis-server")
    [port] = free_ports(1)
    folder = setup.new_folder()
    arguments = [command, "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)]
    arguments += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    with program(arguments, port, folder):
        yield port


@contextmanager
def redis_setter(port: int) -> Iterator[Work]:
    """Sets one at a time."""
    with closing(package("redis").Redis(LOOPBACK, port)) as redis:
        yield repeat(lambda: redis.set("x", 3))


def _pipeline(redis: Any) -> Any:
    # Without MULTI and EXEC around it, which is the faster way.
    return redis.pipeline(transaction=False)


@contextmanager
def redis_batch_setter(keys: Sequence[str], port: int) -> Iterator[Work]:
    """One pipeline that sets every key."""
    with closing(package("redis").Redis(LOOPBACK, port)) as redis:

        def set_all() -> None:
            pipeline = _pipeline(redis)
            for number, key in enumerate(keys):
                pipeline.set(key, number)
            pipeline.execute()

        yield repeat(set_all)


@contextmanager
def redis_batch_getter(keys: Sequence[str], port: int) -> Iterator[Work]:
    """One pipeline that gets every key."""
    with closing(package("redis").Redis(LOOPBACK, port)) as redis:
        redis.mset({key: number for number, key in enumerate(keys)})

        def get_all() -> list[int]:
            pipeline = _pipeline(redis)
            for key in keys:
                pipeline.get(key)
            return [int(value) for value in pipeline.execute()]

        yield repeat(get_all)


class FileLock:
    """A tree that a remote object holds, for the packages that call methods."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {"l": list(range(10))}

    def get(self, key: str, place: int) -> Any:
        """Return one element of a list."""
        return self._tree[key][place]

    def set(self, key: str, value: Any) -> None:
        """Set a key."""
        self._tree[key] = value


@contextmanager
def _in_thread(run: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()


@contextmanager
def pyro_server() -> Iterator[str]:
    """Pyro5; the context is the object's address."""
    pyro = package("Pyro5.api")
    with pyro.Daemon(host=LOOPBACK) as daemon:
        uri = str(daemon.register(pyro.expose(FileLock)()))
        with _in_thread(daemon.requestLoop, daemon.shutdown):
            yield uri


@contextmanager
def pyro_client(operation: str, uri: str) -> Iterator[Work]:
    """Gets or sets one at a time."""
    with package("Pyro5.api").Proxy(uri) as tree:
        yield _remote(operation, tree.get, tree.set)


@contextmanager
def rpyc_server() -> Iterator[int]:
    """RPyC, a thread for each client; the context is the port."""
    rpyc = package("rpyc")
    holder = FileLock()
    methods = {"exposed_get": staticmethod(holder.get), "exposed_set": staticmethod(holder.set)}
    service = type("Tree", (rpyc.Service,), methods)
    threaded = package("rpyc.utils.server").ThreadedServer(service, hostname=LOOPBACK, port=0)
    with _in_thread(threaded.start, threaded.close):
        yield threaded.port


@contextmanager
def rpyc_client(operation: str, port: int) -> Iterator[Work]:
    """Gets or sets one at a time."""
    with closing(package("rpyc").connect(LOOPBACK, port)) as connection:
        yield _remote(operation, connection.root.get, connection.root.set)


@contextmanager
def manager_server() -> Iterator[Any]:
    """multiprocessing.Manager; the context is its address."""
    with SyncManager() as manager:
        yield manager.address


@contextmanager
def manager_client(operation: str, address: Any) -> Iterator[Work]:
    """Gets or sets one at a time."""
    manager = SyncManager(address)
    manager.connect()
    numbers, tree = manager.list(range(10)), manager.dict()
    yield _remote(operation, lambda key, place: numbers[place], tree.__setitem__)


def _remote(
    operation: str, get: Callable[[str, int], Any], set_: Callable[[str, Any], Any]
) -> Work:
    return repeat(partial(get, "l", 3) if operation == "get" else partial(set_, "x", 3))


@contextmanager
def zeo_server(setup: Setup) -> Iterator[Any]:
    """ZEO with a FileStorage; the context is its address."""
    address, stop = package("ZEO").server(str(setup.new_folder() / "data.fs"))
    try:
        yield address
    finally:
        stop()


@contextmanager
def zeo_setter(address: Any) -> Iterator[Work]:
    """Sets a key of the root and commits, one at a time."""
    transaction = package("transaction")
    with closing(package("ZEO").connection(address)) as connection:
        root = connection.root()

        def set_and_commit() -> None:
            root["x"] = 3
            transaction.commit()

        yield repeat(set_and_commit)

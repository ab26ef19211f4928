"""Servers and clients of the benchmarks, each a process of its own.

Rules this module keeps:

- The process that runs the benchmarks starts no thread and keeps no connection of its own, so it
  can fork a child at any moment.
- A child lives as long as its parent's end of the pipe between them: it is gone when that is
  closed, also when the parent is killed. So a child first closes what it inherited of the ends of
  its siblings.
- Ctrl-C is for the parent, which ends every child on its way out.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier
from time import perf_counter
from typing import Any

from benchmarks.measuring import Failed, Measure, Missing

PATIENCE = 60.0
"""Seconds that a process may take to start or to end: a server may have a large tree to save."""

LIMIT = 600.0
"""Seconds that one piece of work may take: it is a failure, not a figure, when it takes longer."""

RETRY = 0.01
"""Seconds between two looks whether a server is there."""

LOOPBACK = "127.0.0.1"

Factory = Callable[[], AbstractContextManager[Any]]
Client = Callable[[Any], AbstractContextManager[Any]]
Span = tuple[float, float]
Work = Callable[[int], Span]
"""Does a number of operations, and returns when it began and ended (`perf_counter`, which all
processes of a machine share)."""

_context = multiprocessing.get_context("fork")
_ends: set[Connection] = set()


@contextmanager
def _child(main: Callable[[Connection], None]) -> Iterator[Connection]:
    """Run ``main`` in a child with its end of a pipe; the context is the parent's end."""
    end, other = _context.Pipe()
    _ends.add(end)
    process = _context.Process(target=_begin, args=(main, other))
    try:
        process.start()
        other.close()
        yield end
    finally:
        _ends.discard(end)
        end.close()
        if process.pid is not None:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()


def _begin(main: Callable[[Connection], None], other: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in _ends:
        end.close()
    _ends.clear()
    try:
        main(other)
    except EOFError:
        pass  # the parent has closed its end: this is how a child is told to go
    except Missing as error:
        other.send(error)
    except Exception:
        other.send(Failed(traceback.format_exc()))


def _receive(end: Connection) -> Any:
    if not end.poll(LIMIT):
        raise Failed(f"no answer within {LIMIT:.0f} seconds")
    try:
        answer = end.recv()
    except EOFError:
        raise Failed("a process of the benchmark ended by itself") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def server(factory: Factory) -> Iterator[Any]:
    """Open ``factory()`` in a child; the context is what it gives there, an address usually."""

    def main(other: Connection) -> None:
        with factory() as address:
            other.send(address)
            other.recv()

    with _child(main) as end:
        yield _receive(end)


class Worker:
    """A function in a child."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def send(self, argument: Any) -> None:
        """Let the child call its function."""
        self._end.send(argument)

    def result(self) -> Any:
        """Wait for what the function returned. Raises Failed when it raised."""
        return _receive(self._end)

    def call(self, argument: Any) -> Any:
        """Let the child call its function, and wait for what it returns."""
        self.send(argument)
        return self.result()


@contextmanager
def worker(factory: Factory) -> Iterator[Worker]:
    """Open ``factory()`` in a child; the context calls the function that it gives there."""

    def main(other: Connection) -> None:
        with factory() as function:
            other.send(None)
            while True:
                other.send(function(other.recv()))

    with _child(main) as end:
        _receive(end)
        yield Worker(end)


def repeat(operation: Callable[[], object]) -> Work:
    """Return the work that does an operation again and again."""

    def work(count: int) -> Span:
        start = perf_counter()
        for _ in range(count):
            operation()
        return start, perf_counter()

    return work


@contextmanager
def rate(
    running: Factory, client: Client, count: int, clients: int = 1, threads: int = 1
) -> Iterator[Measure]:
    """Measure operations per second: ``clients`` processes, each with as many clients as it has
    threads, do ``count`` operations a client.

    ``running`` opens the server and gives its address, ``client(address)`` gives a Work. A first
    small round, which counts for nothing, warms everything up.
    """
    with ExitStack() as stack:
        address = stack.enter_context(running())
        factory: Factory = partial(client, address)
        if threads > 1:
            factory = partial(_in_threads, factory, threads)
        workers = [stack.enter_context(worker(factory)) for _ in range(clients)]

        def measure(count: int = count) -> float:
            for each in workers:
                each.send(count)
            spans = [each.result() for each in workers]
            start, end = _together(spans)
            return count * clients * threads / (end - start)

        measure(max(1, count // 10))
        yield measure


@contextmanager
def _in_threads(factory: Factory, threads: int) -> Iterator[Work]:
    """Several clients of one process, each in a thread of its own from start to end."""
    barrier = Barrier(threads)

    def work_together(work: Work, count: int) -> Span:
        barrier.wait()
        return work(count)

    def leave(executor: ThreadPoolExecutor, opened: AbstractContextManager[Work]) -> None:
        executor.submit(opened.__exit__, None, None, None).result()

    with ExitStack() as stack:
        executors, works = [], []
        for _ in range(threads):
            executor = stack.enter_context(ThreadPoolExecutor(1))
            opened = factory()
            works.append(executor.submit(opened.__enter__).result())
            stack.callback(leave, executor, opened)
            executors.append(executor)

        def work(count: int) -> Span:
            doing = [
                executor.submit(work_together, work, count)
                for executor, work in zip(executors, works, strict=True)
            ]
            return _together([each.result() for each in doing])

        yield work


def _together(spans: list[Span]) -> Span:
    """From the start of the first to the end of the last."""
    return min(start for start, _ in spans), max(end for _, end in spans)


@contextmanager
def program(arguments: Sequence[str], port: int, folder: Path) -> Iterator[int]:
    """Run a server of its own program until the end; the context is its process id.

    It is there when ``port`` of this machine takes connections. Raises Failed with what it wrote
    when it ends before.
    """
    path = folder / "output"
    with open(path, "wb") as output:
        with _interrupts_put_off() as put_off:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if put_off:
                raise KeyboardInterrupt
            _wait_for(process, port, path)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _interrupts_put_off() -> Iterator[list[int]]:
    """Collect the signals that would interrupt the block: a process that it starts would be lost
    when one came between its start and the return of `Popen`."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait_for(process: subprocess.Popen[bytes], port: int, path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((LOOPBACK, port), timeout=PATIENCE).close()
            return
        except OSError:
            if process.poll() is not None:
                output = path.read_text(encoding="utf-8", errors="replace")
                raise Failed(f"{process.args!r} ended: {output}") from None
            if time.monotonic() > until:
                raise Failed(f"{process.args!r} took no connection in {PATIENCE} s") from None
            time.sleep(RETRY)


def free_ports(count: int) -> list[int]:
    """Find ports of this machine that nobody uses now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def fresh_python(source: str) -> str:
    """Run source in a new Python, and return what it prints. Raises Failed with its errors."""
    # An installed package has its bytecode, and so must a checkout, whatever is set here.
    settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=settings,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(done.stderr)
    return done.stdout

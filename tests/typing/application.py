"""An application as users write it, which is never run: what type checkers say of it is the test.

Every use that is wrong is marked, and a mark that is not needed is an error too.
"""

from __future__ import annotations

import pyzdb
from pyzdb import File, PyzdbError, register
from pyzdb import client as callable_module
from pyzdb.client import Connection, Proxy, Root, client
from pyzdb.errors import LockTimeout, PathKeyError, ServerTimeout


def right(db: Root) -> None:
    """Everything that a path can do, on values of which nobody knows the type."""
    db["x"] = 3
    x: int = db["x"]._run()
    y: float = db["x"].fetch() + 1
    db["x"] += 1
    db["l"] = range(10)
    db["l"].append(3)
    db["l"][4] = ["a", "b"]
    db["l"][1:3] = []
    del db["l"][0]
    db["l"] += [x]
    db["l"].sort(reverse=True)
    db.update({"a": 1}, b=2)
    first = db["l"][0]
    first_too: Proxy = db["l"][0]
    odd = [v * v for v in db["l"] if v % 2]
    size = len(db["l"]) + len(odd) + int(db["x"])
    found = "x" in db or db["x"] == size or db["x"] >= y
    pairs = {key.upper(): value for key, value in db["d"].items()}
    text = f"{db['x']:>5} {first!r} {first_too} {found} {pairs}"
    db["locks"][("l", 4)] = db["locks"].get(("l", 4), False)
    db["report"] = File(text)
    db["n"] = -db["n"] + abs(db["n"]) + round(db["n"]) + 2 * db["n"]
    total: int = sum(db["prices"].values())
    db["total"] = total
    db.undo()
    db.redo(2)
    db.save()
    who: str = db.history(1)[0]["who"]
    print(who)


def locks_and_batches(db: Root, connection: Connection) -> None:
    """What is done to the tree as a whole."""
    with db.lock(timeout=3.0, lease=5):
        db["x"] = db["x"]._run() + 1
    db.lock()
    db.unlock()
    with db.batch() as batch:
        batch["x"] += 1
        batch["l"].append(4)
        x = batch["x"].fetch()
    print(x.value + 1)
    printed: str = connection.exec("print(1)")
    connection.timeout = 5.0
    connection.on_wait = lambda reason, seconds: print(reason, seconds, printed)


def errors(db: Root) -> None:
    """Errors and what they tell."""
    try:
        db["no"].fetch()
    except PathKeyError as error:
        path: tuple[object, ...] = error.path
        print(path)
    except LockTimeout as error:
        print(error.holder.upper(), error.waited + 1)
    except ServerTimeout as error:
        print(error.uri.upper(), error.waited + 1)
    except PyzdbError:
        raise


def ways_to_a_client() -> None:
    """All of them give the same two."""
    db, connection = client("tcp://localhost:5559", read_uri=None, timeout=5.0)
    with connection:
        right(db)
    db, connection = callable_module("tcp://localhost:5559")
    db, connection = pyzdb.client.client()
    db, connection = pyzdb.client("tcp://localhost:5559", timeout=3.0)
    also: Connection = pyzdb.client.Connection("tcp://localhost:5559", None, 3.0)
    locks_and_batches(db, also)
    register(complex, "complex", str, complex)


def wrong(db: Root) -> None:
    """What is not there, as it is misspelled or misplaced.

    Each line has to be an error: the checkers report a comment that ignores none.
    """
    db.undoo()  # type: ignore[attr-defined]
    db["l"].apend(3)  # type: ignore[attr-defined]
    db["l"].undo()  # type: ignore[attr-defined]
    db.x = 3  # type: ignore[attr-defined]
    db["l"].append = None  # type: ignore[assignment]
    db.undo("two")  # type: ignore[arg-type]
    db.lock(timeout="soon")  # type: ignore[arg-type]
    db.history(steps=3)  # type: ignore[call-arg]
    with db.batch() as batch:
        batch.undo()  # type: ignore[attr-defined]
    client(5559)  # type: ignore[arg-type]
    callable_module(5559)  # type: ignore[arg-type]
    client(resend=0.1)  # type: ignore[call-arg]
    db, _, _ = client()  # type: ignore[misc]
    _, connection = client()
    connection.open()  # type: ignore[attr-defined]

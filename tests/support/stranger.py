"""A program that uses a client as an application does, for systems on which it is to work.

    python tests/support/stranger.py WRITE_URI READ_URI

It says "all is well" when what it read is what it wrote, and imports no more than an application.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
import threading
import zoneinfo

from pyzdb.client import client
from pyzdb.errors import ServerTimeout
from pyzdb.values import File

WHEN = datetime.datetime(2024, 2, 29, 12, tzinfo=zoneinfo.ZoneInfo("UTC"))

_, write_uri, read_uri = sys.argv
db, connection = client(write_uri, read_uri)
with connection:
    db["tree"] = {"l": range(10), ("a", 1): WHEN, "set": {1, 2}, "bytes": b"\0\xff"}
    assert db["tree"]._run() == {
        "l": [*range(10)],
        ("a", 1): WHEN,
        "set": {1, 2},
        "bytes": b"\0\xff",
    }
    assert [value for value in db["tree"]["l"] if value % 2] == [1, 3, 5, 7, 9]
    db["tree"]["l"].append(10)
    db.undo()
    db.redo()
    assert len(db["tree"]["l"]) == 11
    db["file"] = File(filename="notes.txt", content=b"content")
    assert db["file"]._run().filename == "notes.txt"
    db.lock()
    db["n"] = db["tree"]["l"][3]._run() + 1
    db.unlock()

    def add() -> None:
        for _ in range(50):
            db["tree"]["l"].append(0)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(db["tree"]["l"]) == 211
    with contextlib.suppress(KeyError):
        db["no"]._run()
        raise AssertionError("what is not there was read")
    db.save()
    name = db.history(1)[0]["who"].partition(":")[0]

nobody, connection = client("tcp://127.0.0.1:1", timeout=0.1)
with connection:
    try:
        nobody["x"]._run()
    except ServerTimeout:
        print(f"all is well for {name}")

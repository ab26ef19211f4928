"""The session and the application code that users of the old program know, with real processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tests.support.programs import Conversation, Server, run, script

SESSION = """\
> db
{}
> db['x'] = 3
None
> db['x']
3
> db['l'] = range(10)
None
> db
{'x': 3, 'l': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
> db['l'][4] = ['a', 'b', 'c']
None
> db.undo()
None
> db
{'x': 3, 'l': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
> db.undo()
None
> db.redo()
None
> db.redo()
None
> db
{'x': 3, 'l': [0, 1, 2, 3, ['a', 'b', 'c'], 5, 6, 7, 8, 9]}
> [v for v in db['l'][4]]
['a', 'b', 'c']
> [k for k in db]
['x', 'l']
> db['l'][4].append('d')
None
> db.save()
None
""".splitlines()

LINES = [line.removeprefix("> ") for line in SESSION[::2]]
ANSWERS = SESSION[1::2]


def test_the_sample_session_gives_these_answers(server: Server) -> None:
    done = run([*script("client.py"), server.write_uri], "\n".join(LINES))
    assert done.stdout.splitlines() == ANSWERS
    assert (done.returncode, done.stderr) == (0, "")


def test_the_session_goes_on_when_the_server_is_restarted_in_the_middle(server: Server) -> None:
    with Conversation(server.write_uri) as shell:
        for number, (line, answer) in enumerate(zip(LINES, ANSWERS, strict=True)):
            assert shell.ask(line) == answer
            if number % 5 == 2:
                server.stop()
                server.start()
        assert shell.finish() == 0


def test_the_session_goes_on_when_the_server_is_killed(server: Server) -> None:
    with Conversation(server.write_uri) as shell:
        for line, answer in zip(LINES[:7], ANSWERS[:7], strict=True):
            assert shell.ask(line) == answer
        server.kill()
        server.start()
        for line, answer in zip(LINES[7:], ANSWERS[7:], strict=True):
            assert shell.ask(line) == answer


def test_reads_go_to_the_read_address_and_writes_do_not(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    with Conversation(server.write_uri, server.read_uri) as shell:
        assert shell.ask("db['x'] = 3") == "None"
        # Nobody answers at the read address before there is a read-only server.
        shell.tell("db")
        waits_for = f"no answer from {server.write_uri} or {server.read_uri}; still trying"
        assert shell.stderr.readline().startswith(waits_for)
        start_server(writer=server)
        assert shell.stdout.readline() == "{'x': 3}\n"


def test_application_code(server: Server, connect: Callable[..., Any]) -> None:
    db = connect(server.write_uri)
    db["x"] = 3
    x = db["x"]._run()
    db["l"] = range(10)
    odd_squares = [v * v for v in db["l"] if v % 2]
    db.lock()
    db["x"] = db["x"]._run() + 1
    db.unlock()
    db.save()
    assert (x, odd_squares) == (3, [1, 9, 25, 49, 81])
    assert db._run() == {"x": 4, "l": list(range(10))}


APPLICATION = """
from pyzdb.client import client
db, connection = client({uri!r})
db['x'] = 3
db.lock()
db['x'] = db['x']._run() + 1
print(repr(db))
print(db['x']._run())
"""


def test_a_program_that_leaves_everything_open_ends(
    server: Server, connect: Callable[..., Any]
) -> None:
    source = APPLICATION.format(uri=server.write_uri)
    # As users run it: a connection that was not closed is no error by default.
    done = run([sys.executable, "-W", "ignore::ResourceWarning", "-c", source])
    assert (done.returncode, done.stdout, done.stderr) == (0, "db\n4\n", "")


def test_locks_on_parts_of_the_tree(server: Server, connect: Callable[..., Any]) -> None:
    db = connect(server.write_uri)
    db["locks"] = {}
    assert db["locks"].get(("l", 4), False) is False
    db["locks"][("l", 4)] = True
    assert db["locks"].get(("l", 4), False) is True
    assert db["locks"]._run() == {("l", 4): True}

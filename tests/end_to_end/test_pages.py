"""What the pages show is what happens: sessions, Python, commands and links."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

import pyzdb.errors
from pyzdb.cli.terminal import CONTINUATION, PROMPT
from pyzdb.operations.table import TABLE
from pyzdb.protocol.replies import WireReply
from pyzdb.protocol.requests import MODES
from pyzdb.values.tags import TAGS
from tests.support.pages import PAGES, Shell, blocks, commands, headings, text_of
from tests.support.programs import LIMIT, ROOT, Server, environment, raw_socket, run, script
from tests.torture.__main__ import TESTS
from tests.unit.test_layers import BELOW

README_LINES = 200
"""Lines of the README at most: whoever wants more reads on."""

NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python server.py": (
        "scripts/check makes such an environment, and other tests start the server"
    ),
    ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest": "this is what runs",
    ".venv/bin/python examples/iso_codes.py": "test_example.py runs it with data of its own",
    "make venv": "what runs is in such an environment",
    "make check": "this is what runs",
    "make test": "this is what runs",
    ".venv/bin/python -m pytest tests/unit/storage": "this is what runs",
    "PYZDB_TEST_WITHOUT=macos,fork .venv/bin/python -m pytest tests/unit": (
        "scripts/check does it for the parts that differ"
    ),
    "python -m benchmarks --rounds 5 --json run.json": "test_benchmarks.py has a short form",
    "python -m benchmarks --from run.json --plot docs/benchmarks.svg": "the same",
}
"""Commands of a page that no test types, and why."""

RUN = {
    ("docs/durability.md", "How it was tried"),
    ("docs/read-only-servers.md", "Read-only servers"),
}
"""Pages and headings whose commands are run below."""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in the test's folder, whose servers have ended at the end."""
    with Shell(tmp_path) as opened:
        yield opened


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        if ":" in name:
            continue  # elsewhere
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            titles = headings(str(path.resolve().relative_to(ROOT)))
            known = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in known, target


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_somewhere(page: str) -> None:
    if page == "docs/operating.md":
        return  # test_operating.py asks for its own
    for heading, typed in commands(page).items():
        assert (page, heading) in RUN or set(typed) <= set(NOT_RUN), heading


def test_the_session_is_answered_as_shown(server: Server) -> None:
    shown = "".join(block.text for block in blocks("README.md") if block.text.startswith(PROMPT))
    typed, answers = "", ""
    for line in shown.splitlines(keepends=True):
        if line.startswith((PROMPT, CONTINUATION)):
            typed += line[len(PROMPT) :]
        else:
            answers += line
    done = subprocess.run(
        [*script("client.py"), server.write_uri],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment(),
    )
    assert typed
    assert done.stdout == answers


def python_of(page: str) -> str:
    """All the Python of a page."""
    return "\n".join(block.text for block in blocks(page) if block.language == "python")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_of(page) and page != "docs/read-only-servers.md"]
)
def test_the_python_runs(page: str, server: Server) -> None:
    source = python_of(page)
    source = re.sub(r"\bclient\(\)", f"client({server.write_uri!r})", source)
    source = re.sub(r"\bclient\(timeout", f"client({server.write_uri!r}, timeout", source)
    source = re.sub(r"tcp://localhost:5559", server.write_uri, source)
    assert server.write_uri in source
    done = run([sys.executable, "-c", source])
    assert (done.returncode, done.stderr) == (0, "")


def test_read_only_servers_are_started_as_shown(shell: Shell) -> None:
    page = "docs/read-only-servers.md"
    shell.run(commands(page)["Read-only servers"])
    source = shell.addresses.put_into(python_of(page))
    done = run([sys.executable, "-c", source])
    assert (done.returncode, done.stderr) == (0, "")
    shell.stop()


def test_the_warning_that_no_read_only_server_answers_is_as_shown(
    server: Server,
) -> None:
    [shown] = [
        block.text.strip()
        for block in blocks("docs/read-only-servers.md")
        if block.language == "text"
    ]
    uris = server.write_uri, server.read_uri
    done = run(
        [
            sys.executable,
            "-c",
            "from pyzdb.client import client\n"
            f"db, connection = client{(*uris,)!r}\n"
            "connection.timeout = 1.0\n"
            "len(db)\n"
            "connection.close()\n",
        ]
    )
    for address, uri in zip(("5559", "5561"), uris, strict=True):
        shown = shown.replace(f"tcp://localhost:{address}", uri)
    assert (done.returncode, done.stderr.strip()) == (0, shown)


def test_the_torture_commands_are_those_that_there_are(shell: Shell) -> None:
    page = "docs/durability.md"
    named = re.findall(r"^\| `python -m tests\.torture (\w+)` \|", text_of(page), re.M)
    assert set(named) == set(TESTS)
    assert "0 violations" in shell.run(commands(page)["How it was tried"])


def test_the_table_of_errors_is_that_of_the_classes() -> None:
    shown = {}
    for line in _section("Errors").splitlines():
        cells = line.split("|")
        for name in re.findall(r"`(\w+)`", cells[2]) if line.startswith("|") else ():
            shown[name] = set(re.findall(r"`(\w+)`", cells[1]))
    of_a_server = {"ChangeFailed", "CorruptFile", "FileInUse", "FilesReplaced", "NewerFormat"}
    roots = {"PyzdbError", "QueryError", "StorageError", "SyncFailed"}
    classes = {name for name in pyzdb.errors.__all__ if name[0].isupper()}
    assert set(shown) == classes - of_a_server - roots
    for name, caught in shown.items():
        known = {base.__name__ for base in getattr(pyzdb.errors, name).__mro__}
        assert not caught or caught & known, name


def _section(title: str) -> str:
    """What stands under a heading of the page of the language."""
    return text_of("docs/language.md").partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_exchange_is_what_a_server_says(server: Server) -> None:
    [exchange] = [block.text for block in blocks("docs/protocol.md") if block.language == "wire"]
    token = ""
    with raw_socket(zmq.REQ, server.write_uri) as socket:
        for line in exchange.splitlines():
            who, _, message = line.partition(" ")
            if who == "C":
                socket.send(message.replace("TOKEN", token).encode())
                continue
            pattern = re.escape(message).replace("TOKEN", r"(?P<token>\d+)")
            pattern = pattern.replace("URI", re.escape(server.lock_uri))
            pattern = pattern.replace("DATE", r"[-\d]+ [:\d]+")
            said = socket.recv().decode()
            found = re.fullmatch(pattern, said)
            assert found, f"{said} in place of {message}"
            token = found.groupdict().get("token", token)


def test_the_page_of_the_protocol_names_every_function_of_a_container() -> None:
    rows = re.findall(r"^\| (dict|list) \| (.*) \| (.*) \|$", text_of("docs/protocol.md"), re.M)
    [anything] = re.findall(r"^\| any value \| (.*) \| .* \|$", text_of("docs/protocol.md"), re.M)
    shown = {name: [re.findall(r"`(\w+)`", cell) for cell in cells] for name, *cells in rows}
    for kind in (dict, list):
        table = TABLE[kind]
        reads = {name for name in table if table[name].kind == "read"}
        assert set(shown[kind.__name__][0]) == reads - set(re.findall(r"`(\w+)`", anything))
        assert set(shown[kind.__name__][1]) == set(table) - reads


def test_the_page_of_the_protocol_names_every_mode_field_and_tag() -> None:
    page = text_of("docs/protocol.md")
    modes = {name: mode.request for name, mode in MODES.items() if mode.request is not None}
    fields = {field for request in modes.values() for field in request.__struct_fields__}
    for name in (*modes, *fields, *WireReply.__struct_fields__, *TAGS):
        assert f"`{name}`" in page, name


def test_the_table_of_the_packages_is_that_of_the_layers() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text_of("docs/design.md"), re.M)
    everywhere = {"errors", "paths"}
    shown = {name: set(re.findall(r"`(\w+)`", cell)) - everywhere for name, cell in rows}
    own = {"pyzdb", "__main__"}
    known = {name: set(below.split()) - everywhere - own for name, below in BELOW.items()}
    assert set(shown) == set(known) - own
    for name, below in shown.items():
        assert below == known[name] or name in ("server", "cli"), name
    assert known["server"] == set(known) - everywhere - own - {"client", "server", "cli"}

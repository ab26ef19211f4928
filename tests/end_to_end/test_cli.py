"""The commands as a user types them: help, arguments, exit statuses, one line for an error."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pyzdb
from pyzdb import cli
from pyzdb.cli import check, execute, serve, shell
from pyzdb.cli.main import COMMANDS
from pyzdb.cli.main import main as pyzdb_main
from pyzdb.cli.prompt import Prompt
from pyzdb.errors import CorruptFile, SyncFailed
from pyzdb.server.options import READ_SERVER_URI
from tests.support.programs import Conversation, Server, environment, run, script
from tests.torture.processes import free_uris

MAINS = {"serve": serve.main, "shell": shell.main, "exec": execute.main, "check": check.main}

SCRIPTS = {"server.py": "serve", "client.py": "shell", "exec_client.py": "exec"}


def test_every_command_is_tested_here() -> None:
    assert list(MAINS) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_says_what_it_does(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        pyzdb_main([command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: pyzdb {command} [-h]")
    assert (sys.modules[COMMANDS[command]].__doc__ or "?").strip() in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_the_commands(name: str) -> None:
    script_help = run([*script(name), "--help"])
    command_help = run([sys.executable, "-m", "pyzdb", SCRIPTS[name], "--help"])
    assert (script_help.returncode, script_help.stderr) == (0, "")
    assert script_help.stdout.startswith(f"usage: {name} [-h]")
    assert script_help.stdout.split("\n\n", 1)[1] == command_help.stdout.split("\n\n", 1)[1]


def test_the_arguments_of_a_server_are_in_the_old_order() -> None:
    given = serve.parser().parse_args(["-ro", "file", "one", "", "three", "four", "five"])
    assert given.read_only
    assert given.filename == "file"
    assert (given.write_client_uri, given.write_server_uri) == ("one", "")
    assert (given.read_client_uri, given.read_server_uri) == ("three", "four")
    assert given.lock_uri == "five"


def test_a_server_is_told_where_read_only_servers_connect_or_takes_the_default() -> None:
    assert serve.options_of(["-ro", "file"]).read_server_uri is None
    assert serve.options_of([]).listening[3] == READ_SERVER_URI
    assert READ_SERVER_URI in serve.parser().format_help()


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "pyzdb"], *(script(name) for name in SCRIPTS)]
)
def test_the_version_is_told(command: list[str]) -> None:
    done = run([*command, "--version"])
    assert (done.returncode, done.stdout) == (0, f"pyzdb {pyzdb.__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["--dance"], ["serve", "--dance"]])
def test_wrong_arguments_end_with_2_and_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        pyzdb_main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: pyzdb")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_timeout_is_a_number_of_seconds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        shell.main([f"--timeout={text}"])
    assert f"{text!r} is not a number of seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (CorruptFile("db.pkl is damaged\nat 5", "db.pkl", 5), 1, "pyzdb: db.pkl is damaged at 5\n"),
        (SyncFailed("the disk failed"), 3, "pyzdb: the disk failed\n"),
        (OSError(errno.EACCES, "not allowed", "db.pkl"), 1, "[Errno 13] not allowed: 'db.pkl'\n"),
        (MemoryError(), 1, "pyzdb: there is not enough memory\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_one_line_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert cli.run(work) == status
    assert capsys.readouterr().err.endswith(said)


def test_an_error_at_the_prompt_is_one_line_and_the_next_line_goes_on(server: Server) -> None:
    lines = ["db['x'] = 1", "db['y']", "db.undo(5)", "db['x'].nothing", "1 +", "db['x']"]
    done = run([*script("client.py"), server.write_uri], "\n".join(lines))
    assert done.stdout.splitlines() == ["None", "1"]
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "PathKeyError",
        "HistoryError",
        "AttributeError",
        "SyntaxError",
    ]
    assert done.returncode == 1


def test_a_block_that_the_input_ends_in_is_done(server: Server) -> None:
    text = "with db.batch() as batch:\n    batch['x'] = 1\n    batch['y'] = 2"
    done = run([*script("client.py"), server.write_uri], text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")
    assert run([*script("client.py"), server.write_uri], "db\n").stdout == "{'x': 1, 'y': 2}\n"


def test_exit_leaves_with_its_status(server: Server) -> None:
    done = run([*script("client.py"), server.write_uri], "import sys\nsys.exit(7)\ndb\n")
    assert (done.returncode, done.stdout) == (7, "None\n")


def test_a_prompt_without_a_server_says_what_to_start() -> None:
    (uri,) = free_uris(1)
    done = run([*script("client.py"), uri, "--timeout", "0.1"], "db\n")
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"ServerTimeout: {uri} did not answer for ")
    assert error.endswith("`python server.py` starts one")


def test_an_exec_client_with_a_wrong_address_says_so() -> None:
    done = run([*script("exec_client.py"), "nonsense"], "print(1)")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pyzdb: 'nonsense' is not an address like tcp://")


@pytest.fixture
def waiting() -> Iterator[tuple[Conversation, str]]:
    """A client.py whose query waits, since there is no server; and the address of that."""
    (uri,) = free_uris(1)
    with Conversation(uri) as shell_process:
        shell_process.tell("db")
        said = shell_process.stderr.readline()
        assert said == f"no answer from {uri}; still trying (Ctrl-C stops waiting)\n"
        yield shell_process, uri


def test_a_prompt_says_that_the_server_is_away_and_goes_on_when_it_is_back(
    waiting: tuple[Conversation, str], start_server: Callable[..., Server], tmp_path: Any
) -> None:
    shell_process, uri = waiting
    server = Server(tmp_path)
    server.uris[0] = uri
    with server:
        assert shell_process.stdout.readline() == "{}\n"
        assert shell_process.ask("db['x'] = 1") == "None"
        assert shell_process.finish() == 0
        assert shell_process.stderr.read() == ""


def test_ctrl_c_ends_a_command_that_reads_a_pipe(waiting: tuple[Conversation, str]) -> None:
    shell_process, _ = waiting
    shell_process.process.send_signal(signal.SIGINT)
    assert shell_process.finish() == cli.INTERRUPTED
    assert shell_process.stderr.read() == ""


def test_a_prompt_says_that_another_client_holds_the_lock(
    server: Server, connect: Callable[..., Any]
) -> None:
    db = connect(server.write_uri)
    with Conversation(server.write_uri) as shell_process:
        with db.lock():
            shell_process.tell("db")
            assert shell_process.stderr.readline() == (
                "another client holds the lock; waiting (Ctrl-C stops waiting)\n"
            )
        assert shell_process.stdout.readline() == "{}\n"


def test_a_reader_of_the_output_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [*script("client.py"), "tcp://127.0.0.1:1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate("1\n2\n")
    assert (process.returncode, said) == (cli.FAILED, "")


def lines_of(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """Reads as from a terminal: each line in turn, or what a key makes of it; then the end."""
    left = iter(lines)

    def read_line(prompt: str) -> str:
        line = next(left, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read_line


def test_ctrl_c_forgets_the_lines_of_a_block_and_keeps_the_prompt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = lines_of("for n in range(3):", KeyboardInterrupt, "1 + 1")
    assert shell.converse(Prompt({}), lines, shell.Notice("uri"), keep_on=True) == cli.OK
    assert capsys.readouterr().out == "2\n"


def test_ctrl_c_in_a_query_is_told_and_keeps_the_prompt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def wait() -> None:
        raise KeyboardInterrupt

    lines = lines_of("wait()", "1 + 1")
    prompt = Prompt({"wait": wait})
    assert shell.converse(prompt, lines, shell.Notice("uri"), keep_on=True) == cli.FAILED
    captured = capsys.readouterr()
    assert captured.out == "2\n"
    assert captured.err == "stopped waiting; what was sent may still be done\n"


def test_ctrl_c_while_an_answer_is_shown_keeps_the_prompt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = print

    def interrupted(*shown: object, **how: Any) -> None:
        show(*shown, **how)
        if shown == ("1",):
            raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", interrupted)
    lines = lines_of("0 + 1", "1 + 1")
    assert shell.converse(Prompt({}), lines, shell.Notice("uri"), keep_on=True) == cli.OK
    assert capsys.readouterr().out == "1\n2\n"


def test_what_a_query_waits_for_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    notice = shell.Notice("tcp://host:1")
    for seconds in (0.1, shell.PATIENCE, 2 * shell.PATIENCE):
        notice("silent", seconds)
    notice("saving", shell.PATIENCE)
    assert capsys.readouterr().err.splitlines() == [
        "no answer from tcp://host:1; still trying (Ctrl-C stops waiting)",
        "the server is saving; waiting (Ctrl-C stops waiting)",
    ]
    notice.next()
    notice("silent", shell.PATIENCE)
    assert "no answer" in capsys.readouterr().err

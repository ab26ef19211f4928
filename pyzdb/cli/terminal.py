"""Where the lines come from: prompt_toolkit on a terminal, plain lines from anything else.

On a terminal there are a history that is kept between runs, and completion of keys with Tab. From a
pipe or a file the lines are read as they are, and no prompt is written: the output holds the
answers and nothing else.

A history that cannot be read or kept is told in one line, and the prompt goes on without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer

    from pyzdb.proxy.path import Proxy

PROMPT = "> "
CONTINUATION = ". "

# Reads one line after a prompt. EOFError: no more lines. KeyboardInterrupt: Ctrl-C.
ReadLine = Callable[[str], str]


def is_terminal() -> bool:
    """Tell whether both ends of the conversation are a person's terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def plain_lines(prompt: str) -> str:
    """Read a line of standard input and show no prompt."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def terminal_lines(history_name: str, db: Proxy | None = None) -> ReadLine:
    """Return a reader of a terminal with a history of its own and, with a db, its keys on Tab."""
    from prompt_toolkit import PromptSession

    from pyzdb.cli.kept_history import KeptHistory

    session: PromptSession[str] = PromptSession(
        history=KeptHistory(state_folder() / history_name),
        completer=None if db is None else _completer(db),
        complete_while_typing=False,
        complete_in_thread=True,
    )
    return session.prompt


def state_folder() -> Path:
    """Return the folder for what a program keeps between runs, by the XDG base directory rules."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home) / "pyzdb"


def _completer(db: Proxy) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    from pyzdb.cli.completion import completions, path_at_end

    class KeyCompleter(Completer):
        def get_completions(
            self, document: Document, complete_event: CompleteEvent
        ) -> Iterable[Completion]:
            path = path_at_end(document.text_before_cursor)
            if path is not None:
                for text in completions(db, path):
                    yield Completion(text, start_position=-len(path.part))

    return KeyCompleter()

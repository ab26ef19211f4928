"""Countries, their subdivisions and the languages of the world, in one tree.

The data are three JSON files of Debian's package iso-codes. A server is started with its database
in a temporary folder; the data are loaded, asked, edited and saved; then the server is restarted,
and the same client asks again.

    python examples/iso_codes.py [FOLDER]

FOLDER holds iso_3166-1.json, iso_3166-2.json and iso_639-3.json; by default it is where the package
puts them, /usr/share/iso-codes/json.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from pyzdb.cli.prompt import Prompt
from pyzdb.client import Root, client

DEBIAN_FOLDER = Path("/usr/share/iso-codes/json")

SOURCES = (
    ("iso_3166-1.json", "3166-1", "alpha_2", "countries"),
    ("iso_3166-2.json", "3166-2", "code", "subdivisions"),
    ("iso_639-3.json", "639-3", "alpha_3", "languages"),
)
"""What becomes of each file: its name, the name of the list in it, the key that a record is stored
under, and the key in the tree."""

BATCH = 1000
"""Records that travel in one message."""

QUESTIONS = (
    "len(db['countries']), len(db['subdivisions']), len(db['languages'])",
    "db['countries']['CH']['name']",
    "db['countries'].get('XX', 'no such country')",
    "'BE' in db['countries']",
    "[code for code, country in db['countries'].items() if country['name'].startswith('Z')]",
    "[place['name'] for place in db['subdivisions'].values() if place['code'].startswith('LU-')]",
    "len([1 for language in db['languages'].values() if language['type'] == 'C'])",
    "db['languages']['epo']['name'].upper()",
)

EDITS = (
    "db['countries']['CH']['languages'] = ['deu', 'fra', 'ita']",
    "db['countries']['CH']['languages'].append('roh')",
    "[db['languages'][code]['name']._run() for code in db['countries']['CH']['languages']]",
    "del db['subdivisions']",
    "list(db)",
    "db.undo()",
    "list(db)",
    "db.save()",
)

AFTER_THE_RESTART = (
    "db['countries']['CH']['languages']",
    "db.undo()",
    "db['countries']['CH']['languages']",
    "len(db['countries']), len(db['subdivisions']), len(db['languages'])",
)


class Server:
    """A server process of this example."""

    def __init__(self, folder: Path) -> None:
        # Sockets in the folder: no port of the machine is taken.
        uris = [f"ipc://{folder}/{name}" for name in ("write", "back", "read", "read-back", "lock")]
        self.uri = uris[0]
        self.command = [sys.executable, "-m", "pyzdb", "serve", str(folder / "iso.pkl"), *uris]
        self.start()

    def start(self) -> None:
        """Start the server; a client waits until it is there."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def restart(self) -> None:
        """Stop the server as an operator does, and start it again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Have the server save and end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


def load(db: Root, folder: Path) -> None:
    """Store the records of all files, many in one message, and tell how far it is."""
    for filename, name, key, target in SOURCES:
        records = json.loads((folder / filename).read_text(encoding="utf-8"))[name]
        db[target] = {}
        for start in range(0, len(records), BATCH):
            with db.batch() as batch:
                for record in records[start : start + BATCH]:
                    batch[target][record[key]] = record
            done = min(start + BATCH, len(records))
            print(f"{target}: {done} of {len(records)}", file=sys.stderr)


def converse(prompt: Prompt, lines: tuple[str, ...]) -> None:
    """Show each line and what comes of it, as the prompt of `pyzdb shell` does."""
    for line in lines:
        print(">", line)
        for result in prompt.feed(line):
            print(result.text)


def main() -> None:
    """Load, ask, edit, save, restart, ask again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=DEBIAN_FOLDER)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        server = Server(Path(temporary))
        try:
            db, connection = client(server.uri)
            with connection:
                load(db, folder)
                prompt = Prompt({"db": db})
                converse(prompt, QUESTIONS + EDITS)
                server.restart()
                print("(the server was restarted)")
                converse(prompt, AFTER_THE_RESTART)
        finally:
            server.stop()


if __name__ == "__main__":
    main()

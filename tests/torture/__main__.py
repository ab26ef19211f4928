"""Break pyzdb on purpose, and count what it lost.

tests:
  kills       kill the server again and again while clients write
  relay       lose requests and replies on the way, and kill the server too
  silence     let connections fall silent, and use up the server's descriptors
  locks       kill and stop the holders of the lock
  histories   check whole histories of what clients saw for linearizability
  failpoints  kill a process before and after each of its steps on the disk
  power       take the power away at every step, and drop what was not synced
  cuts        cut the journal short
  flips       flip single bits of the files
  full        fill the disk of a server and free it again
  syncs       have the first, second, third... sync of a server fail
  moves       move, remove and replace the files of a server
  faults      interrupt requests at every step of the program
  equal       compare a live database with its files after every step
  soak        use all of it for a long time, and look for what grows

`python -m tests.torture NAME --help` tells the options of a test; `--short` runs it in its short
form. A test ends with one line of figures and exits with 0 when the database kept its promises,
with 1 when it did not.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys

from pyzdb.cli import Arguments, parser_of

TESTS = (
    *("kills", "relay", "silence", "locks", "histories"),
    *("failpoints", "power", "cuts", "flips", "full", "syncs", "moves"),
    *("faults", "equal", "soak"),
)


def main(arguments: Arguments = None) -> int:
    """Run the test that the first argument names, and return the exit status."""
    parser = parser_of(__doc__, "python -m tests.torture")
    parser.add_argument("name", choices=TESTS, metavar="NAME", help="one of the above")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="what the test takes")
    given = parser.parse_args(arguments)
    test = importlib.import_module(f"tests.torture.{given.name}")
    status: int = test.main(given.options, f"{parser.prog} {given.name}")
    return status


if __name__ == "__main__":
    # A test that is told to stop must still end the servers that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

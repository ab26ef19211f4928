"""`python -m pyzdb` is the command `pyzdb`."""

import sys

from pyzdb.cli.main import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m pyzdb"))

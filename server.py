"""Start a pyzdb server: the arguments are in `python server.py --help`."""

import sys

from pyzdb.cli.serve import main

if __name__ == "__main__":
    sys.exit(main())

"""Run Python source in a pyzdb server: the arguments are in `python exec_client.py --help`."""

import sys

from pyzdb.cli.execute import main

if __name__ == "__main__":
    sys.exit(main())

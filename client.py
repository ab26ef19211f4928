"""Talk to a pyzdb server at a prompt: the arguments are in `python client.py --help`."""

import sys

from pyzdb.cli.shell import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m rnnlab``: the command line, where the program ``rnnlab`` is not on the path."""

import sys

from rnnlab.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m rawsys``: the command line."""

import sys

from rawsys.cli import main

if __name__ == "__main__":
    sys.exit(main())

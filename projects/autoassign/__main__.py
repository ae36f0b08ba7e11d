"""``python -m autoassign`` is the command ``autoassign``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Write an HTML page about a training run; see ``autoassign.cli.report``."""

import sys

from autoassign.cli.report import main

if __name__ == "__main__":
    sys.exit(main())

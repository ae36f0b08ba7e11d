#!/usr/bin/env python
"""Write an HTML page about a training run; see ``autoassign.report.command``."""

import sys

from autoassign.report.command import main

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Figures of what a detector has learned; see ``autoassign.cli.visualize``."""

import sys

from autoassign.cli.visualize import main

if __name__ == "__main__":
    sys.exit(main())

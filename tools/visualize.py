#!/usr/bin/env python
"""Figures of what a detector has learned; see ``autoassign.visualization.command``."""

import sys

from autoassign.visualization.command import main

if __name__ == "__main__":
    sys.exit(main())

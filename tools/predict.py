#!/usr/bin/env python
"""Detect objects in images and videos; see ``autoassign.inference.command``."""

import sys

from autoassign.inference.command import main

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Detect objects in images and videos; see ``autoassign.inference.command``."""

import sys

if __name__ == "__main__":
    try:
        from autoassign.inference.command import main
    except KeyboardInterrupt:  # importing takes seconds
        sys.exit(130)
    sys.exit(main())

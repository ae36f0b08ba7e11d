#!/usr/bin/env python
"""Detect objects in images and videos; see ``autoassign.cli.predict``."""

import sys

if __name__ == "__main__":
    try:
        from autoassign.cli.predict import main
    except KeyboardInterrupt:  # importing takes seconds
        sys.exit(130)
    sys.exit(main())

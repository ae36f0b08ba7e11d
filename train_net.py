#!/usr/bin/env python
"""detectron2's training script for this project: the same as ``autoassign train``."""

import sys

from autoassign.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], prog="train_net.py"))

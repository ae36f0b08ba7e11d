#!/usr/bin/env python
"""Train or evaluate a detector: detectron2's training script; see ``autoassign.cli.train``."""

from autoassign.cli.train import run

if __name__ == "__main__":
    run()

#!/usr/bin/env python
"""Train or evaluate a detector: detectron2's training script; see ``autoassign.train_net``."""

from autoassign.train_net import run

if __name__ == "__main__":
    run()

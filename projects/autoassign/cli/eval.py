"""Evaluate a trained detector on the test datasets of its config.

    autoassign eval --weights output/mine/model_best.pth
    autoassign eval --config-file FILE --weights FILE DATASETS.TEST "('coco_2017_val',)"

The same as `train_net.py --eval-only`. The detections go to OUTPUT_DIR/evaluation. With weights
that hold their config, OUTPUT_DIR is their folder unless it is set.
"""

from __future__ import annotations

import argparse

from . import train
from .arguments import add_launch_arguments, add_model_arguments, add_options_argument

__all__ = ["NEEDS_ARGUMENTS", "add_arguments", "run"]

NEEDS_ARGUMENTS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign eval``."""
    add_model_arguments(parser)
    add_launch_arguments(parser)
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate in the processes that the arguments ask for."""
    args.config_file = args.config_file or ""
    if args.weights and args.config_file.endswith(".py"):
        quoted = args.weights.replace("'", r"\'")  # in Hydra's syntax
        args.opts += ["train.init_checkpoint", f"'{quoted}'"]
    elif args.weights:
        args.opts += ["MODEL.WEIGHTS", args.weights]
    args.eval_only, args.resume = True, False
    train.run(args)

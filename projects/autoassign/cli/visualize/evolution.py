"""Draw how the assignment of objects changed over a training (AutoAssign's Figure 7).

    autoassign visualize evolution output/mine

The training must have run with TEST.EVOLUTION.ENABLED True.
"""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign visualize evolution``."""
    parser.add_argument("run_dir", metavar="OUTPUT_DIR", help="of the training")
    parser.add_argument("--output", metavar="DIR", help="default: OUTPUT_DIR/evolution")


def run(args: argparse.Namespace) -> None:
    """Draw a picture per object and print their names."""
    from ...analysis.figures import draw_evolutions

    for path in draw_evolutions(args.run_dir, args.output):
        print(path)

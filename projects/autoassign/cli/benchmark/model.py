"""Count parameters and multiply-adds of R-50-FPN detectors, part by part.

autoassign benchmark model
autoassign benchmark model --detectors AutoAssign d2-FCOS --size 800 1344
"""

from __future__ import annotations

import argparse

from ..arguments import add_options_argument
from .steps import add_size_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign benchmark model``."""
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=["AutoAssign", "d2-FCOS", "d2-RetinaNet"],
        metavar="NAME",
        help="label assignments, and d2-FCOS and d2-RetinaNet of detectron2",
    )
    add_size_argument(parser)
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Print the rows of every detector."""
    from ...analysis.benchmark import build_detector, count_model

    print(f"{'detector':18}{'part':12}{'parameters':>14}{'GFLOPs':>10}")
    for name in args.detectors:
        for row in count_model(build_detector(name, args.opts), tuple(args.size)):
            print(f"{name:18}{row.part:12}{row.parameters:14,}{row.gflops:10.1f}")

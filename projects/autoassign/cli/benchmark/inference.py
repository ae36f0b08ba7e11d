"""Measure inference of R-50-FPN detectors, alternating in one run.

    autoassign benchmark inference
    autoassign benchmark inference --detectors d2-RetinaNet AutoAssign AutoAssign+fast

See ``autoassign benchmark train --help``; "loss" is decoding and NMS here.
"""

from __future__ import annotations

import argparse

from .steps import add_arguments, run_benchmark

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> None:
    """Print a row for every detector."""
    run_benchmark(args, training=False)

"""Measure training steps of R-50-FPN detectors, alternating in one run.

    autoassign benchmark train
    autoassign benchmark train --detectors d2-FCOS d2-FCOS+fast AutoAssign AutoAssign+fast
    autoassign benchmark train --annotations instances_val2017.json --json rows.json

Images are noise; weights are random. Config options are those of this
project's detectors; detectron2's are as its model zoo has them. "+fast" behind a name of either
adds the options of configs/recipes/fast.yaml. A ratio is the
median over the rounds of a detector's step by that of the first one. "data" is the conversion of
images.
"""

from __future__ import annotations

import argparse

from .steps import add_arguments, run_benchmark

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> None:
    """Print a row for every detector."""
    run_benchmark(args, training=True)

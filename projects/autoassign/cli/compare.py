"""Train several configs, or one with several strategies or variants, under equal conditions.

    autoassign compare --config-file A.yaml B.yaml --seeds 3 --budget 3min --output DIR
    autoassign compare --config-file A.yaml --strategies all --seeds 3 --output DIR
    autoassign compare --config-file A.yaml --variants configs/ablations/table2_*.yaml --output DIR
    autoassign compare --config-file ... --num-gpus 8 --output DIR SOLVER.BASE_LR 0.005

Data, schedule, optimizer, gradient clipping, evaluation and EMA of every run are those of the
first config. DIR gets table.md, results.csv, chart.png, curves.png, and the runs in
DIR/<config, strategy or variant>/seed<k>. The same command continues after an interruption; seeds,
configs, strategies and variants may be added to it.

Exit status: 0; 1 if a training failed; 2 if the arguments are wrong; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .arguments import add_options_argument, number_type

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign compare``."""
    count = number_type(int, 1)
    parser.add_argument("--config-file", nargs="+", required=True, metavar="FILE")
    changes = parser.add_mutually_exclusive_group()
    changes.add_argument(
        "--strategies",
        nargs="+",
        default=(),
        metavar="NAME",
        help="label assignments to train the only config with, each with the head options that it "
        "recommends; all: every registered one",
    )
    changes.add_argument(
        "--variants",
        nargs="+",
        default=(),
        metavar="FILE",
        help="configs whose own options, without those of their _BASE_ files, change the only "
        "config, such as configs/ablations/table2_*.yaml",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--seeds", type=count, default=3, metavar="N", help="runs of each config (default 3)"
    )
    parser.add_argument(
        "--budget",
        default="",
        metavar="LENGTH",
        help="of each run: iterations (1500), or training time (90s, 3min, 1.5h), which is "
        "converted to iterations by the measured speed of each config; the schedule is scaled to "
        "it, apart from options given here (default: the schedule of the first config)",
    )
    parser.add_argument(
        "--jobs", type=count, default=1, metavar="N", help="simultaneous trainings (default 1)"
    )
    parser.add_argument(
        "--num-gpus", type=count, default=1, metavar="N", help="GPUs of each training (default 1)"
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train and compare; returns the exit status."""
    from ..analysis.comparison import Budget, MeasurementError, compare

    try:
        return compare(
            args.config_file,
            args.output,
            seeds=args.seeds,
            strategies=args.strategies,
            variants=args.variants,
            budget=Budget.parse(args.budget) if args.budget else Budget(),
            jobs=args.jobs,
            num_gpus=args.num_gpus,
            opts=args.opts,
        )
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1

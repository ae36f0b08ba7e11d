#!/usr/bin/env python
"""Train several configs under equal conditions and compare them.

    python tools/compare.py --config-file A.yaml B.yaml --seeds 3 --budget 3min --output DIR
    python tools/compare.py --config-file ... --num-gpus 8 --output DIR SOLVER.BASE_LR 0.005

Data, schedule, optimizer (rates, clipping), evaluation and averaging of weights are those of the
first config, whatever the others say. DIR gets table.md, results.csv, chart.png, curves.png, and
the runs in DIR/<config>/seed<k>. The same command goes on after an interruption; more seeds and
configs may be added to it.
"""

import argparse
import sys
from pathlib import Path

from autoassign.analysis.comparison import Budget, MeasurementError, compare


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each config (default: 3)")
    parser.add_argument(
        "--budget",
        default="",
        metavar="LENGTH",
        help="of each run: iterations (1500), or time of training (90s, 3min, 1.5h), for which the "
        "speed of each config is measured first; the schedule is scaled to it, but for keys among "
        "the options (default: the schedule of the first config)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs of each training")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(argv)
    try:
        return compare(
            args.config_file,
            args.output,
            seeds=args.seeds,
            budget=Budget.parse(args.budget) if args.budget else Budget(),
            jobs=args.jobs,
            num_gpus=args.num_gpus,
            opts=args.opts,
        )
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

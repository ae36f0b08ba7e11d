"""Time COCO evaluation by pycocotools and by this project's evaluator on the same random data.

    autoassign benchmark eval --num-images 1000

Every image has about 7 objects and 100 detections, of 80 classes. Exits with 1 if their results
differ by more than 1e-12.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..arguments import number_type
from .json_file import add_json_argument, write_json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign benchmark eval``."""
    parser.add_argument(
        "--num-images", type=number_type(int, 1), default=1000, metavar="N", help="default 1000"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the seconds of both; returns the exit status."""
    from ...analysis.benchmark import measure_evaluation

    row = measure_evaluation(args.num_images)
    ratio = row.pycocotools_seconds / row.fast_seconds
    print(f"pycocotools        {row.pycocotools_seconds:8.2f} s")
    print(f"FastCOCOEvaluator  {row.fast_seconds:8.2f} s   {ratio:.1f}× faster")
    print("results            " + ("equal" if row.equal else "DIFFERENT"))
    write_json(args.json, {**asdict(row), "ratio": ratio})
    return 0 if row.equal else 1

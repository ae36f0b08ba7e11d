#!/usr/bin/env python
"""Benchmarks.

    python tools/benchmark.py loss --objects 10 100 300 1000
    python tools/benchmark.py loss --box-scale 16 --json rows.json
    python tools/benchmark.py loss --against mmdet.json

loss: forward and backward pass of the losses, and the peak of memory above the predictions, for a
batch of 2 images of 800×1344 px and 80 classes; each row in a process of its own. mmdet.json is
written by tools/mmdet_baseline.py, which measures MMDetection's AutoAssign: the rows of AutoAssign
alone are compared with it.
"""

import argparse
import itertools
import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from autoassign.analysis.benchmark.loss import LossRow, measure, strategy_names


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    loss = commands.add_parser("loss", help="time and memory of the losses")
    loss.add_argument("--objects", type=int, nargs="+", default=[10, 100, 300, 1000])
    loss.add_argument("--strategies", nargs="+", choices=strategy_names(), default=strategy_names())
    loss.add_argument("--box-scale", type=float, default=1.0, help="16: boxes 16 times too large")
    loss.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    loss.add_argument("--against", type=Path, metavar="FILE", help="rows of MMDetection")
    args = parser.parse_args()

    baseline = json.loads(args.against.read_text())["rows"] if args.against else []
    seconds_of = {r["objects"]: r["forward_seconds"] + r["backward_seconds"] for r in baseline}
    print(
        "strategy      objects  box scale  forward ms  backward ms  x floor  peak MB"
        + ("  times faster" if baseline else "")
    )
    rows = []
    for row in _measure_all(args.strategies, args.objects, args.box_scale):
        rows.append(asdict(row))
        # The baseline is MMDetection's AutoAssign.
        _print(row, seconds_of.get(row.objects) if row.strategy == "AutoAssign" else None)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


def _measure_all(strategies: list[str], objects: list[int], box_scale: float) -> Iterator[LossRow]:
    # A process forgets neither its peak of memory nor what its allocator keeps: one for each row.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for strategy, num_objects in itertools.product(strategies, objects):
            yield pool.apply(measure, (strategy, num_objects, box_scale))


def _print(row: LossRow, baseline_seconds: float | None) -> None:
    seconds = row.forward_seconds + row.backward_seconds
    line = (
        f"{row.strategy:12}  {row.objects:7d}  {row.box_scale:9g}"
        f"  {1e3 * row.forward_seconds:10.1f}  {1e3 * row.backward_seconds:11.1f}"
        f"  {seconds / row.floor_seconds:7.2f}  {row.peak_mb:7.0f}"
    )
    if baseline_seconds is not None:
        line += f"  {baseline_seconds / seconds:12.1f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()

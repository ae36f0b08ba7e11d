"""Measure time and memory of the losses, forward and backward.

    autoassign benchmark loss --objects 10 100 300 1000
    autoassign benchmark loss --strategies AutoAssign FCOS --box-scale 16 --json rows.json
    autoassign benchmark loss --against mmdet.json

The batch has 2 images of 800×1344 px and 80 classes; each row is measured in a fresh process.
Memory is the growth of the process's peak. mmdet.json is written by tools/mmdet_baseline.py, which
measures MMDetection's AutoAssign: only rows of AutoAssign are compared with it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import number_type
from ..imports import import_modules
from .json_file import add_json_argument, write_json

if TYPE_CHECKING:
    from ...analysis.benchmark import LossRow

__all__ = ["add_arguments", "run"]

_HEADER = "strategy         objects  box scale  forward ms  backward ms  x floor  peak MB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign benchmark loss``."""
    parser.add_argument(
        "--objects",
        type=number_type(int, 0),
        nargs="+",
        default=[10, 100, 300, 1000],
        metavar="N",
        help="objects in each image (default: 10 100 300 1000)",
    )
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument(
        "--box-scale",
        type=number_type(float, 0),
        default=1.0,
        metavar="S",
        help="factor on the size of the predicted boxes (default 1)",
    )
    parser.add_argument(
        "--box-size",
        type=number_type(float, 1),
        nargs=2,
        default=(10.0, 120.0),
        metavar=("MIN", "MAX"),
        help="sides of the objects in pixels (default: 10 120)",
    )
    add_json_argument(parser)
    parser.add_argument("--against", type=Path, metavar="FILE", help="rows of MMDetection")


def run(args: argparse.Namespace) -> None:
    """Print a row for every strategy and number of objects."""
    from ...config import strategy_names

    strategies = strategy_names(args.strategies)
    seconds_of = _read_seconds(args.against) if args.against else {}
    rows: list[dict[str, Any]] = []
    for row in _measure_all(strategies, args):
        if not rows:
            print(_HEADER + ("  times faster" if seconds_of else ""))
        rows.append(asdict(row))
        _print(row, seconds_of.get(row.objects) if row.strategy == "AutoAssign" else None)
    write_json(args.json, {"rows": rows})


def _read_seconds(path: Path) -> dict[int, float]:
    """Seconds by the number of objects, from the file that ``tools/mmdet_baseline.py`` writes."""
    try:
        rows = json.loads(path.read_text())["rows"]
        times = ((x["objects"], x["forward_seconds"], x["backward_seconds"]) for x in rows)
        return {int(objects): float(forward) + float(back) for objects, forward, back in times}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"--against {path}: not from tools/mmdet_baseline.py: {error!r}"
        ) from error


def _measure_all(strategies: list[str], args: argparse.Namespace) -> Iterator[LossRow]:
    from ...analysis.benchmark import measure_loss

    # A process keeps its peak and its allocator's memory: one for each row.
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, import_modules, maxtasksperchild=1) as pool:
        for strategy, num_objects in itertools.product(strategies, args.objects):
            yield pool.apply(
                measure_loss, (strategy, num_objects, args.box_scale, tuple(args.box_size))
            )


def _print(row: LossRow, baseline_seconds: float | None) -> None:
    seconds = row.forward_seconds + row.backward_seconds
    line = (
        f"{row.strategy:15}  {row.objects:7d}  {row.box_scale:9g}"
        f"  {1e3 * row.forward_seconds:10.1f}  {1e3 * row.backward_seconds:11.1f}"
        f"  {seconds / row.floor_seconds:7.2f}  {row.peak_mb:7.0f}"
    )
    if baseline_seconds is not None:
        line += f"  {baseline_seconds / seconds:12.1f}"
    print(line, flush=True)

"""What ``autoassign benchmark train`` and ``autoassign benchmark inference`` share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_options_argument, number_type
from .json_file import add_json_argument, write_json

if TYPE_CHECKING:
    from ...analysis.benchmark import StepRow

__all__ = ["add_arguments", "add_size_argument", "run_benchmark"]

_DEFAULT = ["AutoAssign", "DSLA", "d2-FCOS", "d2-RetinaNet"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both verbs."""
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=_DEFAULT,
        metavar="NAME",
        help="label assignments, and d2-FCOS and d2-RetinaNet of detectron2; with +fast behind it, "
        "as in AutoAssign+fast, under the options of configs/recipes/fast.yaml "
        f"(default: {' '.join(_DEFAULT)})",
    )
    positive = number_type(int, 1)
    parser.add_argument(
        "--batch-size", type=positive, default=2, metavar="N", help="images (default 2)"
    )
    add_size_argument(parser)
    objects = parser.add_mutually_exclusive_group()
    objects.add_argument(
        "--objects",
        type=number_type(int, 0),
        default=8,
        metavar="N",
        help="in each image (default 8)",
    )
    objects.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="COCO annotations; the objects of some of its images instead of random ones",
    )
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="default 5")
    parser.add_argument("--device", default="", help="default: cuda if available, else cpu")
    add_json_argument(parser)
    add_options_argument(parser)


def add_size_argument(parser: argparse.ArgumentParser) -> None:
    """Add the size of the images."""
    parser.add_argument(
        "--size",
        type=number_type(int, 32),
        nargs=2,
        default=(800, 1344),
        metavar=("H", "W"),
        help="of the images in pixels (default: 800 1344)",
    )


def run_benchmark(args: argparse.Namespace, *, training: bool) -> None:
    """Measure and print a row for every detector."""
    import torch

    from ...analysis.benchmark import (
        build_detector,
        make_batch,
        make_batch_like,
        time_inference,
        time_training,
    )

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    detectors = {name: build_detector(name, args.opts, device) for name in args.detectors}
    size = tuple(args.size)
    if args.annotations:
        batch = make_batch_like(args.annotations, args.batch_size, size)
    else:
        batch = make_batch(args.batch_size, size, args.objects)
    measure = time_training if training else time_inference
    rows = measure(detectors, batch, rounds=args.rounds)
    _print(rows)
    out_of_memory = [name for name in detectors if name not in {row.name for row in rows}]
    for name in out_of_memory:
        print(f"{name:18}out of memory")
    content = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
        "out_of_memory": out_of_memory,
    }
    write_json(args.json, content)


def _print(rows: Sequence[StepRow]) -> None:
    parts = list(rows[0].seconds)
    header = "".join(f"{part:>11}" for part in parts)
    print(f"{'detector':18}{header}   images/s  ratio  peak MB")
    for row in rows:
        times = "".join(f"{1e3 * row.seconds[part]:8.1f} ms" for part in parts)
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        print(f"{row.name:18}{times}   {row.images_per_second:8.2f}  {row.ratio:5.2f}  {peak:>7}")

"""Measure how fast training images are loaded, beside detectron2's loader.

    autoassign benchmark data --config-file FILE DATALOADER.NUM_WORKERS 2
    autoassign benchmark data --config-file FILE --step DATALOADER.FAST_MAPPER True

Prints images per second of the training loader as the config has it, of detectron2's loader with
the same images, augmentations and processes, and of decoding the files alone. The three alternate;
figures are medians over the rounds. With --step, training steps of the model are timed too: they
say how many images it takes a second.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from typing import Any

from ..arguments import add_config_argument, add_options_argument, number_type
from .json_file import add_json_argument, write_json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign benchmark data``."""
    add_config_argument(parser, required=True)
    parser.add_argument(
        "--rounds", type=number_type(int, 1), default=5, metavar="N", help="default 5"
    )
    parser.add_argument(
        "--seconds",
        type=number_type(float, 0.01),
        default=2.0,
        metavar="S",
        help="of each measurement (default 2)",
    )
    parser.add_argument("--step", action="store_true", help="time training steps of the model too")
    add_json_argument(parser)
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Print a row for each way of loading, and the images that the model takes."""
    import torch

    from ...analysis.benchmark import measure_loading, time_model
    from ...config import check_values, fit_to_machine, load_config
    from ...data import register_custom_datasets, resolve_num_classes

    cfg = load_config(args.config_file, args.opts)
    check_values(cfg)
    for message in fit_to_machine(cfg):
        print(message)
    with tempfile.TemporaryDirectory() as cfg.OUTPUT_DIR:
        register_custom_datasets(cfg)
        resolve_num_classes(cfg)
        rows = measure_loading(cfg, rounds=args.rounds, seconds=args.seconds)
        step = time_model(cfg, rounds=args.rounds) if args.step else None
    print(f"{'':16}  images/s        range      × detectron2's")
    for row in rows:
        low, high = row.spread
        print(
            f"{row.name:16}{row.images_per_second:10.1f}{low:9.1f} to{high:7.1f}{row.ratio:10.2f}"
        )
    content: dict[str, Any] = {
        "processes": cfg.DATALOADER.NUM_WORKERS,
        "rows": [asdict(row) for row in rows],
    }
    if step:
        print(f"{'the model takes':16}{step.images_per_second:10.1f}   on {cfg.MODEL.DEVICE}")
        content["step"] = {"device": cfg.MODEL.DEVICE, "torch": torch.__version__, **asdict(step)}
    write_json(args.json, content)

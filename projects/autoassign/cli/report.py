"""Write an HTML page about a training, which needs no other file and no network.

    autoassign report output/quickstart
    autoassign report published/model.pth
    autoassign report output/mine --output mine.html --num-images 8 DATASETS.CUSTOM.ROOT /data/mine

SOURCE is the folder of a training, with its config.yaml and metrics.json, or a weight file; then
the page is about the weights. The page shows the options, curves and AP of the training; with the
dataset and the detections of the last evaluation, also the worst and the best images; with the
weights, also the assignment of some objects and the center prior. It says what is missing. Relative
paths in the config start from the current folder, as in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import add_options_argument, number_type

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign report``."""
    parser.add_argument("source", metavar="SOURCE", help="a training's folder, or a weight file")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="replaced if it exists (default: report.html in the folder, X.html for X.pth)",
    )
    parser.add_argument(
        "--num-images",
        type=number_type(int, 1),
        default=4,
        metavar="N",
        help="worst images, best images, and images with their assignment (default 4 of each)",
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    from ..analysis.report import write_report

    source = Path(args.source)
    beside = source.with_suffix(".html") if source.is_file() else source / "report.html"
    output = Path(args.output or beside)
    if output.is_dir():
        raise IsADirectoryError(f"--output {output} is a folder: give the file to write")
    write_report(source, output, num_images=args.num_images, opts=args.opts)
    print(f"{output}: {output.stat().st_size / 2**20:.1f} MB")

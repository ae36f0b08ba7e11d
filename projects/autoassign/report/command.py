"""One HTML page about a training run, that needs no other file and no network.

    tools/report.py output/quickstart
    tools/report.py output/mine --output mine.html --images 8 DATASETS.CUSTOM.ROOT /data/mine

OUTPUT_DIR is the folder of a training with its config.yaml and metrics.json. The page has the
facts and the options of the run, its AP and its curves; with the data and the detections of the
last evaluation the worst and the best images; with the weights the assignment of some objects,
step by step, and the center prior. It says what is missing. KEY VALUE pairs override the config;
relative paths in it start from the current folder, as in train_net.py.

Exit status: 0, or 2 where OUTPUT_DIR is no training's or an argument is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .page import write_report

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="report.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR")
    parser.add_argument(
        "--output", metavar="FILE.html", help="default OUTPUT_DIR/report.html; is replaced"
    )
    parser.add_argument(
        "--images",
        type=_positive,
        default=4,
        metavar="N",
        help="worst images, best images, and images with their assignment (default 4 of each)",
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE")
    args = parser.parse_intermixed_args(argv)
    output = Path(args.output or Path(args.output_dir) / "report.html")
    try:
        write_report(args.output_dir, output, num_images=args.images, opts=args.opts)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{output}: {output.stat().st_size / 2**20:.1f} MB")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value

"""One HTML page about a training run, that needs no other file and no network.

    tools/report.py output/quickstart
    tools/report.py output/mine --output mine.html --images 8 --opts DATASETS.CUSTOM.ROOT /data/mine

OUTPUT_DIR is the folder of a training with its config.yaml and metrics.json. The page has the
facts and the options of the run, its AP and its curves; with the data and the detections of the
last evaluation the worst and the best images; with the weights the assignment of some objects,
step by step, and the center prior. It says what is missing. Relative paths in the config start
from the current folder, as in train_net.py; --opts overrides them.

Exit status: 0, 2 where OUTPUT_DIR is no training's or an argument is wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..analysis.report.page import write_report
from .arguments import add_opts_argument, number_type, run_command

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
        type=number_type(int, 1),
        default=4,
        metavar="N",
        help="worst images, best images, and images with their assignment (default 4 of each)",
    )
    add_opts_argument(parser)
    return run_command(parser, _write, parser.parse_args(argv))


def _write(args: argparse.Namespace) -> None:
    output = Path(args.output or Path(args.output_dir) / "report.html")
    if output.is_dir():
        raise IsADirectoryError(f"--output {output} is a folder: give the file to write")
    write_report(args.output_dir, output, num_images=args.images, opts=args.opts)
    print(f"{output}: {output.stat().st_size / 2**20:.1f} MB")

"""Detect objects in images, videos and camera pictures.

    tools/predict.py --weights output/mine/model_best.pth FOLDER 'more/**/*.jpg' --output DIR
    tools/predict.py --config-file FILE --weights FILE clip.mp4 --classes person dog --output DIR
    tools/predict.py --weights ... camera:0 --frames 250 --output DIR

INPUT is an image, a folder (the images below it, at any depth), a glob pattern in quotes, a video,
or camera:N, which Ctrl-C ends. DIR gets the drawn images and videos under the same relative
names, detections.json (results in COCO's format) and images.json (the images and categories that
they refer to). Both hold at any time what has been done, also after Ctrl-C. Drawings of small
images are larger than the images, for the text on them; the numbers are pixels of the images.

Exit status: 0 where everything was predicted, 1 where an input could not be read (it is named, the
others are predicted) or something could not be written (that ends it), 2 where the arguments, the
config, the weights or DIR are wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config import normalize_opts
from ..inference.predictor import Predictor
from ..inference.runner import Runner
from ..inference.sources import find_sources
from ..runs import load_detector
from .arguments import INTERRUPTED, add_opts_argument, number_type, run_command

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = _argument_parser()
    return run_command(parser, _predict, parser.parse_args(argv))


def _predict(args: argparse.Namespace) -> int:
    sources = find_sources(args.inputs)
    class_names = _lines(args.class_names)
    output = _output_folder(args.output)  # before the weights, which may be a download
    detector = load_detector(
        args.config_file,
        args.weights,
        [*normalize_opts(args.opts), "MODEL.POINT_HEAD.SCORE_THRESH_TEST", args.score_threshold],
        class_names=class_names,
    )
    predictor = Predictor(detector, batch_size=args.batch_size, classes=args.classes)
    runner = Runner(predictor, output, max_frames=args.frames)
    status = 0
    try:
        runner.run(sources)
    except KeyboardInterrupt:
        status = INTERRUPTED
        print("interrupted", file=sys.stderr)
    except OSError as error:
        status = 1
        print(f"ended early: {error}", file=sys.stderr)
    finally:
        what = "image or frame" if runner.num_images == 1 else "images and frames"
        print(f"{runner.num_images} {what} predicted, in {output}")
    if runner.num_unreadable:
        what = "input" if runner.num_unreadable == 1 else "inputs"
        print(f"{runner.num_unreadable} {what} could not be read", file=sys.stderr)
        status = status or 1
    return status


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predict.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="path or name of a shipped config (default: config.yaml beside the weights)",
    )
    parser.add_argument("--weights", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    parser.add_argument("--output", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--batch-size", type=number_type(int, 1), default=4, metavar="N", help="default 4"
    )
    parser.add_argument(
        "--score-threshold",
        type=number_type(float, 0, 1),
        default=0.3,
        metavar="S",
        help="least score of what is drawn and written (default 0.3)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="detect only these")
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="names of all classes, one a line (default: those of the config's datasets)",
    )
    parser.add_argument(
        "--frames",
        type=number_type(int, 1),
        metavar="N",
        help="frames of each video or camera, at most",
    )
    add_opts_argument(parser)
    return parser


def _lines(file: str | None) -> list[str] | None:
    if file is None:
        return None
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--class-names {file} is not UTF-8 text: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _output_folder(name: str) -> Path:
    """The folder, made where it is missing."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileExistsError(f"--output {folder} is a file, not a folder") from error
    except OSError as error:
        raise OSError(f"--output {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"--output {folder}: nothing can be written in this folder")
    if any(folder.iterdir()):
        raise FileExistsError(f"--output {folder} is not an empty folder: nothing is replaced")
    return folder

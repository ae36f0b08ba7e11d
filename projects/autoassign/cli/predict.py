"""Detect objects in images, videos and cameras.

    autoassign predict --weights output/mine/model_best.pth FOLDER 'more/**/*.jpg' --output DIR
    autoassign predict --config-file FILE --weights FILE clip.mp4 --classes person dog --output DIR
    autoassign predict --weights FILE camera:0 --frames 250 --output DIR

INPUT is an image, a folder (all images below it), a glob pattern in quotes, a video, or camera:N,
which Ctrl-C ends. DIR gets the drawn images and videos under the same relative names,
detections.json (COCO results) and images.json (the images and categories that they refer to). Both
files are complete after every image. Drawings of small images are enlarged; boxes are in pixels of
the original image.

Exit status: 0; 1 if an input could not be read (the others are predicted) or a file could not be
written (prediction ends); 2 if the arguments, the config, the weights or DIR are wrong; 130 after
Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .arguments import add_model_arguments, add_options_argument, number_type
from .errors import INTERRUPTED

__all__ = ["add_arguments", "run"]

_SCORE_THRESHOLD_KEY = "MODEL.POINT_HEAD.SCORE_THRESH_TEST"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign predict``."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    add_model_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--batch-size", type=number_type(int, 1), default=4, metavar="N", help="default 4"
    )
    parser.add_argument(
        "--score-threshold",
        type=number_type(float, 0, 1),
        metavar="S",
        help="minimum score of detections that are drawn and written (default 0.3, or "
        f"{_SCORE_THRESHOLD_KEY} if it is given as KEY VALUE)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="detect only these classes")
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="names of all classes, one per line (default: those of the config's datasets)",
    )
    parser.add_argument(
        "--frames",
        type=number_type(int, 1),
        metavar="N",
        help="maximum number of frames of each video or camera",
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Predict on all inputs; returns the exit status."""
    from ..inference import Predictor, Runner, find_sources
    from ..runs import load_detector

    sources = find_sources(args.inputs)
    class_names = _read_lines(args.class_names)
    output = _make_output_folder(args.output)  # before loading weights, which may be a download
    opts = [_SCORE_THRESHOLD_KEY, 0.3, *args.opts]  # later ones override earlier ones
    if args.score_threshold is not None:
        opts += [_SCORE_THRESHOLD_KEY, args.score_threshold]
    detector = load_detector(args.config_file, args.weights, opts, class_names=class_names)
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


def _read_lines(file: str | None) -> list[str] | None:
    if file is None:
        return None
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--class-names {file} is not UTF-8 text: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _make_output_folder(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileExistsError(f"--output {folder} is a file, not a folder") from error
    except OSError as error:
        raise OSError(f"--output {folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"--output {folder} is not writable")
    if any(folder.iterdir()):
        raise FileExistsError(f"--output {folder} is not empty: nothing is overwritten")
    return folder

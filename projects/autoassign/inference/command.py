"""Detect objects in images, videos and camera pictures.

    tools/predict.py --weights output/mine/model_best.pth FOLDER 'more/**/*.jpg' --output DIR
    tools/predict.py --config-file FILE --weights FILE clip.mp4 --classes person dog --output DIR
    tools/predict.py --weights ... camera:0 --frames 250 --output DIR

INPUT is an image, a folder (the images below it, at any depth), a glob pattern in quotes, a video,
or camera:N, which Ctrl-C ends. DIR gets the drawn images and videos under the same relative
names, detections.json (results in COCO's format) and images.json (the images and categories that
they refer to). Both hold at any time what has been done, also after Ctrl-C.

Exit status: 0 where everything was predicted, 1 where an input could not be read (it is named, the
others are predicted), 2 where the arguments, the config or the weights are wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from ..engine.setup import load_trained_config
from .predictor import Predictor
from .runner import Runner
from .sources import find_sources

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = _argument_parser()
    args = parser.parse_args(argv)
    output = Path(args.output)
    try:
        sources = find_sources(args.inputs)
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise FileExistsError(f"--output {output} is not an empty folder: nothing is replaced")
        predictor = Predictor(
            _config(args),
            batch_size=args.batch_size,
            classes=args.classes,
            class_names=_lines(args.class_names),
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    runner = Runner(predictor, output, max_frames=args.frames)
    status = 0
    try:
        runner.run(sources)
    except KeyboardInterrupt:
        status = 130
        print("interrupted", file=sys.stderr)
    finally:
        print(f"{runner.num_images} images and frames predicted, in {output}")
    if runner.num_unreadable:
        print(f"{runner.num_unreadable} inputs could not be read", file=sys.stderr)
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
    parser.add_argument("--batch-size", type=_positive, default=4, metavar="N", help="default 4")
    parser.add_argument(
        "--score-threshold",
        type=_probability,
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
        "--frames", type=_positive, metavar="N", help="frames of each video or camera, at most"
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="options of the config, after all other arguments",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} does not lie between 0 and 1")
    return value


def _config(args: argparse.Namespace) -> CfgNode:
    cfg = load_trained_config(args.config_file, args.weights, args.opts)
    cfg.MODEL.POINT_HEAD.SCORE_THRESH_TEST = args.score_threshold
    return cfg


def _lines(file: str | None) -> list[str] | None:
    if file is None:
        return None
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]

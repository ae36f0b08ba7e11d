"""Draw the scores of an image with and without objectness (AutoAssign's Figure 6).

    autoassign visualize objectness --weights output/mine/model_best.pth --num-images 3
    autoassign visualize objectness --weights FILE --image photo.jpg --class dog

Images come from the config's first test dataset, from --dataset, or from --image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .images import (
    OutputFolder,
    add_figure_arguments,
    add_image_arguments,
    load_explainable,
    read_images,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign visualize objectness``."""
    add_figure_arguments(parser)
    add_image_arguments(parser)
    parser.add_argument(
        "--class", dest="class_name", metavar="CLASS", help="name or index (default: any class)"
    )


def run(args: argparse.Namespace) -> None:
    """Draw a picture per image and print their names."""
    from ...analysis.figures import draw_objectness, score_rows
    from ...data import class_index, map_record

    detector = load_explainable(args.config_file, args.weights, args.opts)
    index, score = None, "any class"
    if args.class_name is not None:
        index = class_index(args.class_name, detector.class_names)
        score = detector.class_names[index]
    folder = OutputFolder(args.output)
    for record in read_images(args, detector, (), with_objects=False):
        rows = score_rows(
            detector.model,
            map_record(detector.cfg, record),
            score,
            class_index=index,
            input_format=detector.cfg.INPUT.FORMAT,
        )
        stem = Path(record["file_name"]).stem
        path = folder.new_file(f"objectness_{stem}.png")
        draw_objectness(rows, f"{stem}: scores before NMS", path)
        print(path)

"""Draw images of a dataset with their ground truth beside a detector's predictions.

    autoassign visualize predictions --weights output/mine/model_best.pth --num-images 8
    autoassign visualize predictions --weights FILE --images street.jpg --score-threshold 0.5

Images come from the config's first test dataset, from --dataset, or from --image.
"""

from __future__ import annotations

import argparse

from ..arguments import number_type
from .images import OutputFolder, add_figure_arguments, add_image_arguments, read_images

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign visualize predictions``."""
    add_figure_arguments(parser)
    add_image_arguments(parser)
    parser.add_argument(
        "--score-threshold",
        type=number_type(float, 0, 1),
        default=0.4,
        metavar="S",
        help="minimum score of predictions that are drawn (default 0.4)",
    )


def run(args: argparse.Namespace) -> None:
    """Draw the picture and print its name."""
    from detectron2.data import Metadata
    from detectron2.data.detection_utils import read_image
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    from ...analysis.figures import draw_prediction_grid
    from ...inference import Predictor
    from ...runs import load_detector

    detector = load_detector(args.config_file, args.weights, args.opts)
    records = read_images(args, detector, (), with_objects=False)
    predictor = Predictor(detector)
    results = []
    for record in records:
        [instances] = predictor([read_image(record["file_name"], format="BGR")])
        results += instances_to_coco_json(instances, record["image_id"])
    path = OutputFolder(args.output).new_file("predictions.png")
    draw_prediction_grid(
        records,
        results,
        Metadata(thing_classes=detector.class_names),
        path,
        num_images=len(records),
        score_thresh=args.score_threshold,
    )
    print(path)

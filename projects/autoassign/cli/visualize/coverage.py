"""Draw what each label assignment would teach about a dataset's objects, before any training.

    autoassign visualize coverage DATASETS.CUSTOM.FORMAT yolo DATASETS.CUSTOM.ROOT FOLDER
    autoassign visualize coverage --config-file ... --strategies AutoAssign FCOS --max-images 5000

By size of the objects, as training sees them: how many get no location at all, how many locations
learn each of the others, and on which levels. Strategies that need predictions get those of an
untrained head. Objects are scaled by MIN_SIZE_TRAIN and MAX_SIZE_TRAIN; SCALE_JITTER and CROP are
not considered. Images are not read. DIR gets coverage.png and coverage.json.
"""

from __future__ import annotations

import argparse
import json

from ..arguments import add_options_argument, number_type
from .images import OutputFolder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign visualize coverage``."""
    parser.add_argument(
        "--config-file",
        default="Base-Small.yaml",
        metavar="FILE",
        help="path, or name of a config of the package (default: Base-Small.yaml)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="default: the first of DATASETS.TRAIN, else of TEST"
    )
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument(
        "--max-images",
        type=number_type(int, 1),
        default=500,
        metavar="N",
        help="of a larger dataset, N images with objects, evenly spread (default 500)",
    )
    parser.add_argument(
        "--output", default="output/coverage", metavar="DIR", help="default output/coverage"
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Measure the coverage, print its tables, and write them and the figure."""
    from tqdm import tqdm

    from ...analysis.coverage import (
        TrainingObjects,
        build_detectors,
        coverage_as_dict,
        draw_coverage,
        format_coverage,
        measure_coverage,
    )
    from ...config import check_values, load_config, replacing, strategy_names
    from ...data import dataset_name, load_table

    strategies = strategy_names(args.strategies)
    cfg = load_config(args.config_file, args.opts)
    check_values(cfg)
    if cfg.MODEL.META_ARCHITECTURE != "PointDetector":
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; the label assignments are "
            "those of PointDetector"
        )
    name = dataset_name(cfg, args.dataset, splits=("TRAIN", "TEST"))
    loaded = load_table(name)
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = len(loaded.class_names)
    images = list(TrainingObjects.from_table(loaded.table, cfg, args.max_images))
    if not images:
        raise ValueError(f"the dataset {name} has no object that training would learn")

    folder = OutputFolder(args.output)
    table, figure = folder.new_file("coverage.json"), folder.new_file("coverage.png")
    progress = tqdm(images, desc=f"measuring {name}", leave=False, disable=None, delay=1)
    detectors = build_detectors(cfg, strategies, fixed=args.opts[::2])
    coverages = measure_coverage(detectors, progress)
    title = f"{name}: {len(images)} of {len(loaded.table)} images"
    print(title, format_coverage(coverages), sep="\n\n")
    content = {"dataset": name, "images": len(images), **coverage_as_dict(coverages)}
    with replacing(table) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
    draw_coverage(coverages, title, figure)
    print(table, figure, sep="\n")

r"""Check a dataset before training: what it holds, how large its objects are, what is wrong.

    autoassign check-data --config-file finetune/autoassign_MobileNetV2_FPN.yaml \
      DATASETS.CUSTOM.FORMAT yolo DATASETS.CUSTOM.ROOT FOLDER
    autoassign check-data --config-file COCO-Detection/autoassign_R_50_FPN_1x.yaml

The datasets are those of DATASETS.CUSTOM, or of DATASETS.TRAIN and TEST. Sizes are those at which
the config's training sees the objects, beside the strides of the levels that predict them. DIR gets
check.json with all numbers, check.png with the histograms, and what a training would write about
its data. Images that look the same in two datasets are found by reading all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_config_argument, add_options_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign check-data``."""
    add_config_argument(parser)
    parser.add_argument(
        "--output", metavar="DIR", default="output/check-data", help="default: output/check-data"
    )
    parser.add_argument(
        "--skip-duplicates",
        action="store_true",
        help="do not read the images to find those that look the same in two datasets",
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Check the datasets, write the files and print what matters."""
    from ..config import check_values, load_config
    from ..data import check_datasets, register_custom_datasets

    cfg = load_config(args.config_file, args.opts)
    check_values(cfg)
    cfg.OUTPUT_DIR = args.output
    register_custom_datasets(cfg)
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    if not names:
        raise ValueError(
            "there is nothing to check: give DATASETS.CUSTOM.FORMAT and ROOT, or a --config-file "
            "that names datasets"
        )
    output = Path(args.output)
    content = check_datasets(cfg, names, output, find_duplicates=not args.skip_duplicates)
    print("\n".join(_lines(content)))
    print(f"{output / 'check.json'}, {output / 'check.png'}")


def _lines(content: dict[str, Any]) -> list[str]:
    stride = content["trained_with"]["strides"][0]
    short_side = content["trained_with"]["short_side"]
    lines = []
    for name, each in content["datasets"].items():
        lines.append(f"{name}: {each['summary']}")
        counts = {x["name"]: x["objects"] for x in each["classes"]}
        rare = sorted(counts, key=lambda x: counts[x])
        lines.append(
            f"  {len(counts)} classes, from {counts[rare[0]]} objects ({rare[0]}) to "
            f"{counts[rare[-1]]} ({rare[-1]})"
        )
        lines.append(
            f"  {each['images_without_objects']} images without objects; at most "
            f"{each['most_objects_in_an_image']} objects in an image; "
            f"{_share(each, 'objects_overlapping_another_by_half')} overlap another with an IoU of "
            "0.5 or more"
        )
        narrow = _share(each, "objects_with_a_side_below_the_finest_stride")
        missed = _share(each, "objects_without_a_location_inside")
        lines.append(
            f"  at a short side of {short_side:g} px: {narrow} have a side below the finest stride "
            f"({stride} px), {missed} have no location inside"
        )
        lines += [f"  suspicious: {sentence}" for sentence in each["suspicions"]]
    for each in content["images_in_two_datasets"]:
        if each["num_same_files"] or each["num_look_alike"]:
            one, other = each["datasets"]
            lines.append(
                f"{one} and {other}: {each['num_same_files']} images are in both, "
                f"{each['num_look_alike'] or 0} of {other} look like images of {one} (check.json "
                "lists them)"
            )
    return lines


def _share(content: dict[str, Any], key: str) -> str:
    return f"{content[key]} objects ({content[key] / max(1, content['objects']):.1%})"

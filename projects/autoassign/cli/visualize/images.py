"""The images that figures are drawn of, and the files that they are written to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_model_arguments, add_options_argument, number_type

if TYPE_CHECKING:
    from ...runs import LoadedDetector

__all__ = [
    "OutputFolder",
    "add_figure_arguments",
    "add_image_arguments",
    "load_explainable",
    "read_images",
]


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every figure that is drawn from a model."""
    add_model_arguments(parser)
    parser.add_argument(
        "--output", default="output/visualize", metavar="DIR", help="default output/visualize"
    )
    add_options_argument(parser)


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose images."""
    parser.add_argument(
        "--dataset", metavar="NAME", help="default: the first of DATASETS.TEST, else of TRAIN"
    )
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="NAME", help="file names in the dataset"
    )
    parser.add_argument(
        "--num-images",
        type=number_type(int, 1),
        default=1,
        metavar="N",
        help="without --images, the first N images (default 1)",
    )
    parser.add_argument("--image", metavar="FILE", help="an image outside any dataset")


def read_images(
    args: argparse.Namespace, detector: LoadedDetector, boxes: Sequence[str], *, with_objects: bool
) -> list[dict[str, Any]]:
    """The dataset dicts of the images that the arguments choose.

    Args:
        args: see :func:`add_image_arguments`.
        detector: whose config names the dataset.
        boxes: the objects of ``--image``, each "X1,Y1,X2,Y2,CLASS".
        with_objects: whether an image needs an object.

    Raises:
        ValueError: the arguments contradict each other, there is no such image, or the dataset has
            other classes than the detector.
    """
    from detectron2.data import MetadataCatalog

    from ...config import first_of
    from ...data import choose_records, image_record, load_dataset

    if args.image:
        if args.images or args.dataset:
            raise ValueError("--image is outside any dataset: leave out --images and --dataset")
        return [image_record(args.image, boxes, detector.class_names)]
    if boxes:
        raise ValueError("--box describes an object of --image: give that too")
    name, records = load_dataset(detector.cfg, args.dataset)
    classes = list(MetadataCatalog.get(name).get("thing_classes", detector.class_names))
    if classes != detector.class_names:
        raise ValueError(
            f"the dataset {name} has the classes {first_of(classes, 5)}, the detector "
            f"{first_of(detector.class_names, 5)}: give a dataset with the detector's"
        )
    return choose_records(
        records, args.images, num_images=args.num_images, with_objects=with_objects
    )


def load_explainable(
    config_file: str | None, weights: str | None, opts: Sequence[str] = ()
) -> LoadedDetector:
    """A detector with all weights that its label assignment learns."""
    from ...checkpoint import Strictness
    from ...runs import load_detector

    return load_detector(config_file, weights, opts, strictness=Strictness.EXPLANATION)


class OutputFolder:
    """Replaces pictures of earlier runs, and numbers names that one run writes twice."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._taken: set[str] = set()

    def new_file(self, name: str) -> Path:
        """The path of a file that this run has not written yet."""
        self._path.mkdir(parents=True, exist_ok=True)
        stem, suffix = Path(name).stem, Path(name).suffix
        number = 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}{suffix}"
        self._taken.add(name)
        return self._path / name

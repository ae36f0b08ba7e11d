"""Draw how a detector assigns objects: weight maps on all levels (AutoAssign's Figure 4).

    autoassign visualize assignment --weights output/mine/model_best.pth --num-images 3
    autoassign visualize assignment --weights FILE --images street.jpg --objects 0 2
    autoassign visualize assignment --weights FILE --image photo.jpg --box 10,20,200,180,dog
    autoassign visualize assignment --weights A.pth --compare dsla.yaml=B.pth fcos.yaml=C.pth

Images come from the config's first test dataset, from --dataset, or from --image. The maps are the
numbers that the losses use. Pictures of earlier runs with the same name are replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .images import (
    OutputFolder,
    add_figure_arguments,
    add_image_arguments,
    load_explainable,
    read_images,
)

if TYPE_CHECKING:
    from ...runs import LoadedDetector

__all__ = ["add_arguments", "run"]

# Objects drawn per image without --objects.
_MAX_OBJECTS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign visualize assignment``."""
    add_figure_arguments(parser)
    add_image_arguments(parser)
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2,CLASS",
        help="an object of --image, in its pixels; may be repeated",
    )
    parser.add_argument(
        "--objects",
        nargs="+",
        type=int,
        metavar="I",
        help=f"indices of the objects, from 0 (default: the {_MAX_OBJECTS} largest)",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="CONFIG=WEIGHTS",
        help="other detectors, to which KEY VALUE does not apply: one picture per object, with "
        "a row per detector",
    )


def run(args: argparse.Namespace) -> None:
    """Draw the objects and print the names of the pictures."""
    from ...data import map_record
    from ...modeling import explain_image

    detectors = _load_detectors(args)
    if args.image and not args.box:
        raise ValueError("--image needs its objects: give --box X1,Y1,X2,Y2,CLASS")
    folder = OutputFolder(args.output)
    for record in read_images(args, detectors[0], args.box, with_objects=True):
        inputs = [map_record(detector.cfg, record) for detector in detectors]
        chosen = args.objects or _largest(inputs[0]["instances"])
        explanations = [
            explain_image(x.model, item, objects=chosen, input_format=x.cfg.INPUT.FORMAT)
            for x, item in zip(detectors, inputs, strict=True)
        ]
        _draw_objects(detectors, explanations, chosen, Path(record["file_name"]).stem, folder)
        total = len(inputs[0]["instances"])
        if len(chosen) < total and not args.objects:
            print(f"{len(chosen)} of {total} objects are drawn; --objects chooses others")


def _load_detectors(args: argparse.Namespace) -> list[LoadedDetector]:
    detectors = [load_explainable(args.config_file, args.weights, args.opts)]
    for pair in args.compare:
        config_file, separator, weights = pair.partition("=")
        if not (config_file and separator and weights):
            raise ValueError(f"--compare takes CONFIG=WEIGHTS, not {pair!r}")
        detectors.append(load_explainable(config_file, weights))
        _check_same_classes(detectors[0], detectors[-1])
    return detectors


def _check_same_classes(first: LoadedDetector, other: LoadedDetector) -> None:
    """Raise a ValueError where the class names of both are known and differ."""
    nameless = any(detector.class_names[0] == "class 0" for detector in (first, other))
    if first.class_names != other.class_names and not nameless:
        raise ValueError(
            f"--compare: the classes of {other.weights} ({', '.join(other.class_names[:5])} ...) "
            f"are not those of {first.weights} ({', '.join(first.class_names[:5])} ...)"
        )


def _draw_objects(
    detectors: Sequence[LoadedDetector],
    explanations: Sequence[Any],
    indices: Sequence[int],
    stem: str,
    folder: OutputFolder,
) -> None:
    from ...analysis.figures import draw_assignment, draw_assignment_comparison

    names = detectors[0].class_names
    for number, index in enumerate(indices):
        single = [replace(x, objects=[x.objects[number]]) for x in explanations]
        title = f"{stem}, object {index}: {names[single[0].objects[0].class_index]}"
        if len(detectors) > 1:
            path = folder.new_file(f"comparison_{stem}_object{index}.png")
            draw_assignment_comparison(_labels(detectors), single, title, path)
        else:
            path = folder.new_file(f"assignment_{stem}_object{index}.png")
            title = f"{detectors[0].strategy}: {title}"
            draw_assignment(single[0], title, path)
        print(path)


def _largest(instances: Any) -> list[int]:
    """Indices of the largest objects, ascending."""
    order = instances.gt_boxes.area().argsort(descending=True, stable=True)
    return sorted(order[:_MAX_OBJECTS].tolist())


def _labels(detectors: Sequence[LoadedDetector]) -> list[str]:
    """The strategies' names, with the folder of the weights where one strategy comes twice."""
    strategies = [detector.strategy for detector in detectors]
    return [
        detector.strategy
        if strategies.count(detector.strategy) == 1
        else f"{detector.strategy} ({Path(detector.weights).absolute().parent.name})"
        for detector in detectors
    ]

"""Draw how a detector assigns objects: weight maps on all levels (AutoAssign's Figure 4).

    autoassign visualize assignment --weights output/mine/model_best.pth --num-images 3
    autoassign visualize assignment --weights FILE --images street.jpg --objects 0 2
    autoassign visualize assignment --weights FILE --image photo.jpg --box 10,20,200,180,dog
    autoassign visualize assignment --weights A.pth --compare dsla.yaml=B.pth fcos.yaml=C.pth
    autoassign visualize assignment --weights A.pth --compare all

Images come from the config's first test dataset, from --dataset, or from --image. The maps are the
numbers that the losses use. With --compare all, every label assignment is applied to the
predictions of this detector; what one of the others learns itself (AutoAssign's center prior,
SAPD's selection network) is untrained. GuidedAnchoring, whose head adapts the features, is left
out unless it is the detector's own. Pictures of earlier runs with the same name are replaced.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    from ...modeling import LabelAssignment
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
        help="other detectors, to which KEY VALUE does not apply, or 'all' for the other label "
        "assignments: one picture per object, with a row for each",
    )


def run(args: argparse.Namespace) -> None:
    """Draw the objects and print the names of the pictures."""
    from ...data import map_record
    from ...modeling import explain_image

    rows = _load_rows(args)
    if args.image and not args.box:
        raise ValueError("--image needs its objects: give --box X1,Y1,X2,Y2,CLASS")
    folder = OutputFolder(args.output)
    for record in read_images(args, rows[0].detector, args.box, with_objects=True):
        inputs = {id(x.detector): map_record(x.detector.cfg, record) for x in rows}
        instances = inputs[id(rows[0].detector)]["instances"]
        chosen = args.objects or _largest(instances)
        explanations = [
            explain_image(
                row.detector.model,
                inputs[id(row.detector)],
                objects=chosen,
                input_format=row.detector.cfg.INPUT.FORMAT,
                label_assignment=row.label_assignment,
            )
            for row in rows
        ]
        _draw_objects(rows, explanations, chosen, Path(record["file_name"]).stem, folder)
        if len(chosen) < len(instances) and not args.objects:
            print(f"{len(chosen)} of {len(instances)} objects are drawn; --objects chooses others")


@dataclass(frozen=True)
class _Row:
    """A detector, and a label assignment that is applied to its predictions."""

    strategy: str
    detector: LoadedDetector
    label_assignment: LabelAssignment


def _load_rows(args: argparse.Namespace) -> list[_Row]:
    detectors = [load_explainable(args.config_file, args.weights, args.opts)]
    if args.compare == ["all"]:
        return [_own_row(detectors[0]), *_other_rows(detectors[0])]
    for pair in args.compare:
        config_file, separator, weights = pair.partition("=")
        if not (config_file and separator and weights):
            raise ValueError(f"--compare takes CONFIG=WEIGHTS, or 'all' alone, not {pair!r}")
        detectors.append(load_explainable(config_file, weights))
        _check_same_classes(detectors[0], detectors[-1])
    return [_own_row(detector) for detector in detectors]


def _own_row(detector: LoadedDetector) -> _Row:
    return _Row(detector.strategy, detector, detector.model.label_assignment)


def _other_rows(detector: LoadedDetector) -> list[_Row]:
    """The other registered label assignments, applied to this detector's predictions."""
    import torch

    from ...modeling import LABEL_ASSIGNMENT_REGISTRY, build_label_assignment

    torch.manual_seed(0)  # initial weights are drawn
    rows = []
    for name, _ in LABEL_ASSIGNMENT_REGISTRY:
        if name != detector.strategy:
            cfg = detector.cfg.clone()
            cfg.defrost()
            cfg.MODEL.LABEL_ASSIGNMENT.NAME = name
            assignment = build_label_assignment(cfg).to(detector.model.device)
            if any(output.guides_features for output in assignment.extra_outputs):
                message = f"{name} is left out: it needs features that its own head adapts"
                print(message, file=sys.stderr)
                continue
            rows.append(_Row(name, detector, assignment))
    return rows


def _check_same_classes(first: LoadedDetector, other: LoadedDetector) -> None:
    """Raise a ValueError where the class names of both are known and differ."""
    from ...config import first_of

    nameless = any(detector.class_names[0] == "class 0" for detector in (first, other))
    if first.class_names != other.class_names and not nameless:
        raise ValueError(
            f"--compare: the classes of {other.weights} ({first_of(other.class_names, 5)}) are "
            f"not those of {first.weights} ({first_of(first.class_names, 5)})"
        )


def _draw_objects(
    rows: Sequence[_Row],
    explanations: Sequence[Any],
    indices: Sequence[int],
    stem: str,
    folder: OutputFolder,
) -> None:
    from ...analysis.figures import draw_assignment, draw_assignment_comparison

    names = rows[0].detector.class_names
    for number, index in enumerate(indices):
        single = [replace(x, objects=[x.objects[number]]) for x in explanations]
        title = f"{stem}, object {index}: {names[single[0].objects[0].class_index]}"
        if len(rows) > 1:
            path = folder.new_file(f"comparison_{stem}_object{index}.png")
            draw_assignment_comparison(_labels(rows), single, title, path)
        else:
            path = folder.new_file(f"assignment_{stem}_object{index}.png")
            title = f"{rows[0].strategy}: {title}"
            draw_assignment(single[0], title, path)
        print(path)


def _largest(instances: Any) -> list[int]:
    """Indices of the largest objects, ascending."""
    order = instances.gt_boxes.area().argsort(descending=True, stable=True)
    return sorted(order[:_MAX_OBJECTS].tolist())


def _labels(rows: Sequence[_Row]) -> list[str]:
    """The strategies' names, with the folder of the weights where one strategy comes twice."""
    strategies = [row.strategy for row in rows]
    return [
        row.strategy
        if strategies.count(row.strategy) == 1
        else f"{row.strategy} ({Path(row.detector.weights).absolute().parent.name})"
        for row in rows
    ]

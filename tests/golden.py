"""Compare the label assignments with reference vectors: ``python tests/golden.py DIR``.

Each ``DIR/<strategy>_*.npz`` holds inputs and the losses, gradients and targets expected for them.
A row is printed per file, precision and tensor; the exit status is 1 if any error is above its
tolerance or no file could be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autoassign.modeling import Grid, GroundTruth, Pairs, Predictions, make_grid
from autoassign.modeling.assignment import (
    ATSS,
    DSLA,
    FCOS,
    FSAF,
    SAPD,
    TAL,
    AutoAssign,
    FreeAnchor,
    GuidedAnchoring,
    HardAssignment,
    MaxIoU,
    SimOTA,
    centerness,
    pair_ltrb,
)

# Precision → greatest relative error of losses, and of gradients and weights relative to the
# largest entry.
TOLERANCES = {torch.float64: (1e-9, 1e-6), torch.float32: (1e-5, 1e-4)}

Vectors = Mapping[str, np.ndarray]


class Row(NamedTuple):
    """The error of one tensor of one file."""

    file: str
    dtype: torch.dtype
    tensor: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance


class Inputs:
    """The tensors of a file, predictions (if it has any) as leaves that collect gradients."""

    def __init__(
        self,
        vectors: Vectors,
        dtype: torch.dtype,
        device: torch.device,
        *,
        offset: float = 0.0,
        names: tuple[str, ...] = ("cls_logits", "ltrb", "obj_logits"),
    ) -> None:
        strides = tuple(int(s) for s in vectors["strides"])
        num_levels = len(strides)
        self.leaves = {
            f"{name}_{i}": torch.tensor(
                vectors[f"{name}_{i}"], dtype=dtype, device=device, requires_grad=True
            )
            for name in names
            for i in range(num_levels)
            if f"{name}_{i}" in vectors
        }
        self.num_levels = num_levels
        self.num_classes = int(vectors["num_classes"])
        height, width = vectors["image_size"].tolist()
        self.grid: Grid = make_grid(
            strides,
            tuple((math.ceil(height / s), math.ceil(width / s)) for s in strides),
            device,
            offset,
        )
        num_images = sum(name.startswith("gt_boxes_") for name in vectors)
        boxes = [vectors[f"gt_boxes_{j}"] for j in range(num_images)]
        classes = [vectors[f"gt_classes_{j}"] for j in range(num_images)]
        self.gt = GroundTruth(
            boxes=torch.tensor(np.concatenate(boxes), dtype=dtype, device=device),
            classes=torch.tensor(np.concatenate(classes), device=device),
            counts=tuple(len(x) for x in boxes),
        )

    def levels(self, name: str) -> list[Tensor]:
        """The (N, ·, H, W) tensors of all levels."""
        return [self.leaves[f"{name}_{i}"] for i in range(self.num_levels)]

    def predictions(self, *, ltrb_in_strides: bool = False) -> Predictions:
        """The dense predictions; zeros where the file has none (assignments without them)."""
        if "cls_logits_0" not in self.leaves:
            n, r = len(self.gt.counts), self.grid.num_locations
            zeros = self.gt.boxes.new_zeros(n, self.num_classes, r).transpose(1, 2)
            return Predictions(cls_logits=zeros, ltrb=self.gt.boxes.new_ones(n, r, 4))
        obj_logits = self.levels("obj_logits") if "obj_logits_0" in self.leaves else None
        ltrb = self.levels("ltrb")
        if ltrb_in_strides:
            ltrb = [x * s for x, s in zip(ltrb, self.grid.strides, strict=True)]
        return Predictions.from_levels(
            cls_logits=self.levels("cls_logits"), ltrb=ltrb, obj_logits=obj_logits
        )

    def assign(self, assignment: HardAssignment) -> tuple[Pairs, Tensor, dict[str, Tensor]]:
        """The pairs that are learned, the image's object at each location, what led to it.

        The latter are (N, R): -1 and 0 where nothing is learned.
        """
        with torch.no_grad():
            result = assignment.assign(self.predictions(), self.grid, self.gt)
        positives = result.pairs.select(result.winners)
        assigned = torch.full((len(self.gt.counts), self.grid.num_locations), -1)
        assigned = assigned.to(positives.objects.device)
        first = self.gt.first_object[self.gt.image_index[positives.objects]]
        assigned.view(-1)[positives.batch_locations] = positives.objects - first
        maps = {name: self.gt.boxes.new_zeros(assigned.shape) for name in result.maps}
        for name, values in maps.items():
            values.view(-1)[positives.batch_locations] = result.maps[name][result.winners]
        return positives, assigned, maps

    def per_level(self, name: str, values: Tensor) -> dict[str, Tensor]:
        """(N·R, ...) values as (N, Hi·Wi, ...) of each level."""
        values = values.view(len(self.gt.counts), self.grid.num_locations, *values.shape[1:])
        levels = values.split([h * w for h, w in self.grid.sizes], dim=1)
        return {f"{name}_{i}": level for i, level in enumerate(levels)}

    def gradients(self) -> dict[str, Tensor]:
        return {f"grad_{name}": leaf.grad for name, leaf in self.leaves.items()}


def compute_autoassign(
    vectors: Vectors, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Losses, gradients and positive weights under the names of the file."""
    inputs = Inputs(vectors, dtype, device)
    assignment = AutoAssign(
        num_classes=int(vectors["num_classes"]),
        location_weight=float(vectors.get("reg_weight", 5.0)),
    ).to(device, dtype)
    with torch.no_grad():
        assignment.mu.copy_(torch.tensor(vectors["mu"]))
        assignment.sigma.copy_(torch.tensor(vectors["sigma"]))
    predictions = inputs.predictions()
    losses, _ = assignment(predictions, inputs.grid, inputs.gt)
    sum(losses.values()).backward()

    weights = assignment.pair_weights(predictions, inputs.grid, inputs.gt)
    shape = (len(inputs.gt.boxes), inputs.grid.num_locations)
    dense = torch.zeros(shape, dtype=dtype, device=device)
    dense[weights.pairs.objects, weights.pairs.locations] = weights.log_positive.detach().exp()
    per_image = dense.split(inputs.gt.counts)
    return {
        **losses,
        **inputs.gradients(),
        "grad_mu": assignment.mu.grad,
        "grad_sigma": assignment.sigma.grad,
        **{f"w_pos_{j}": w for j, w in enumerate(per_image)},
    }


def compute_dsla(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Losses, gradients, labels before IoU coupling and box targets under the file's names."""
    options = json.loads(str(vectors["options"]))
    inputs = Inputs(vectors, dtype, device)
    assignment = DSLA(
        center_sampling_radius=(
            options["center_sampling_radius"] if options["center_sampling"] else None
        ),
        relaxation=(
            options["interval_relaxation_factor"] if options["interval_relaxation"] else None
        ),
        core_zone=options["core_zone"],
        iou_coupling=options["iou_coupling"],
        box_loss=options["box_loss"],
        cls_loss_weight=options["loss_cls_weight"],
    )
    predictions = inputs.predictions(ltrb_in_strides=options["normalize_by_stride"])
    losses, _ = assignment(predictions, inputs.grid, inputs.gt)
    sum(losses.values()).backward()

    pairs, center_score, scale_score = assignment.pair_scores(inputs.grid, inputs.gt)
    with torch.no_grad():
        winners = assignment.assign(predictions, inputs.grid, inputs.gt).winners
    at = pairs.batch_locations[winners]
    num_images, num_locations, num_classes = predictions.cls_logits.shape
    # The file has the greatest label of each class, not only that of the class that is learned.
    scores = torch.zeros(num_images * num_locations * num_classes, dtype=dtype, device=device)
    place = pairs.batch_locations * num_classes + inputs.gt.classes[pairs.objects]
    scores = scores.scatter_reduce(0, place, center_score * scale_score, "amax")
    ltrb = torch.zeros(num_images * num_locations, 4, dtype=dtype, device=device)
    ltrb[at] = pair_ltrb(pairs, inputs.grid, inputs.gt)[winners]
    if options["normalize_by_stride"]:
        ltrb /= inputs.grid.location_strides.repeat(num_images)[:, None]
    return {
        **losses,
        **inputs.gradients(),
        **inputs.per_level("target_scores", scores.view(-1, num_classes)),
        **inputs.per_level("target_ltrb", ltrb),
    }


def compute_fcos(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Labels, box targets and center-ness targets under the file's names."""
    inputs = Inputs(vectors, dtype, device, offset=0.5)
    positives, _, _ = inputs.assign(FCOS())
    at = positives.batch_locations
    num_images, num_locations = len(inputs.gt.counts), inputs.grid.num_locations
    labels = torch.full((num_images * num_locations,), -1, device=device)
    labels[at] = inputs.gt.classes[positives.objects]
    target = pair_ltrb(positives, inputs.grid, inputs.gt)
    ltrb = torch.zeros(num_images * num_locations, 4, dtype=dtype, device=device)
    ltrb[at] = target / inputs.grid.location_strides[positives.locations, None]
    target_centerness = torch.zeros(num_images * num_locations, dtype=dtype, device=device)
    target_centerness[at] = centerness(target)
    return {
        **inputs.per_level("labels", labels),
        **inputs.per_level("target_ltrb", ltrb),
        **inputs.per_level("target_centerness", target_centerness),
    }


def compute_atss(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The object that each location learns, or -1, under the file's names."""
    inputs = Inputs(vectors, dtype, device)
    _, assigned, _ = inputs.assign(ATSS())
    return {f"assigned_{j}": row for j, row in enumerate(assigned)}


def compute_simota(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The object that each location learns and the predicted box's IoU with it."""
    _, assigned, maps = Inputs(vectors, dtype, device).assign(SimOTA())
    return {
        **{f"assigned_{j}": row for j, row in enumerate(assigned)},
        **{f"matched_iou_{j}": row for j, row in enumerate(maps["IoU"])},
    }


def compute_tal(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The object that each location learns and the alignment with it."""
    _, assigned, maps = Inputs(vectors, dtype, device).assign(TAL())
    return {
        **{f"assigned_{j}": row for j, row in enumerate(assigned)},
        **{f"metric_{j}": row for j, row in enumerate(maps["alignment"])},
    }


def compute_freeanchor(
    vectors: Vectors, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Losses and gradients under the file's names."""
    inputs = Inputs(vectors, dtype, device)
    # MMDetection encodes the objects relative to their anchors in float32, whatever it is given.
    gt = replace(inputs.gt, boxes=inputs.gt.boxes.float())
    losses, _ = FreeAnchor()(inputs.predictions(), inputs.grid, gt)
    sum(losses.values()).backward()
    return {
        "loss_positive": losses["loss_pos"],
        "loss_negative": losses["loss_neg"],
        **inputs.gradients(),
    }


def compute_fsaf(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Losses and gradients under the file's names."""
    inputs = Inputs(vectors, dtype, device)
    losses, _ = FSAF()(inputs.predictions(), inputs.grid, inputs.gt)
    sum(losses.values()).backward()
    return {**losses, **inputs.gradients()}


def compute_sapd(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Losses, and gradients of predictions, features and selection network."""
    inputs = Inputs(vectors, dtype, device, offset=0.5, names=("cls_logits", "ltrb", "features"))
    features = inputs.levels("features")
    channels = features[0].shape[1]
    assignment = SAPD(num_levels=len(features), feature_channels=channels, hard_selection_iters=0)
    network = assignment.to(device, dtype).selection
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.tensor(vectors[f"selection.{name}"]))
    predictions = replace(inputs.predictions(), features=tuple(features))
    losses, _ = assignment(predictions, inputs.grid, inputs.gt)
    sum(losses.values()).backward()
    gradients = {f"grad_selection.{name}": x.grad for name, x in network.named_parameters()}
    return {**losses, **inputs.gradients(), **gradients}


def compute_maxiou(vectors: Vectors, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The object that each location learns, -1 for background and -2 for no class loss."""
    inputs = Inputs(vectors, dtype, device)
    assignment = MaxIoU()
    _, assigned, _ = inputs.assign(assignment)
    predictions = inputs.predictions()
    ignored = assignment.assign(predictions, inputs.grid, inputs.gt).ignore
    num_locations, num_classes = inputs.grid.num_locations, predictions.num_classes
    image = torch.div(ignored, num_classes * num_locations, rounding_mode="floor")
    assigned[image, ignored % num_locations] = -2
    return {f"assigned_{j}": row for j, row in enumerate(assigned)}


def compute_guidedanchoring(
    vectors: Vectors, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Losses and gradients under the file's names."""
    extra = ("anchor_location", "anchor_shape")
    inputs = Inputs(vectors, dtype, device, names=("cls_logits", "ltrb", *extra))
    predictions = Predictions.from_levels(
        cls_logits=inputs.levels("cls_logits"),
        ltrb=inputs.levels("ltrb"),
        extra={name: inputs.levels(name) for name in extra},
    )
    losses, _ = GuidedAnchoring()(predictions, inputs.grid, inputs.gt)
    sum(losses.values()).backward()
    return {**losses, **inputs.gradients()}


RUNNERS: dict[str, Callable[[Vectors, torch.dtype, torch.device], dict[str, Tensor]]] = {
    "autoassign": compute_autoassign,
    "dsla": compute_dsla,
    "fcos": compute_fcos,
    "atss": compute_atss,
    "simota": compute_simota,
    "tal": compute_tal,
    "freeanchor": compute_freeanchor,
    "fsaf": compute_fsaf,
    "sapd": compute_sapd,
    "maxiou": compute_maxiou,
    "guidedanchoring": compute_guidedanchoring,
}


def relative_error(name: str, actual: Tensor, vectors: Vectors) -> float:
    """Greatest error relative to the largest expected entry."""
    expected = torch.tensor(vectors[name], dtype=torch.float64)
    if actual.shape != expected.shape:
        raise ValueError(
            f"{name}: {tuple(actual.shape)} computed, {tuple(expected.shape)} expected"
        )
    if expected.numel() == 0:
        return 0.0
    difference = (actual.detach().double().cpu() - expected).abs()
    if name.startswith("grad_ltrb"):
        # At a distance of exactly 0 the ReLU before it passes no gradient: any value will do.
        difference[torch.tensor(vectors[name.removeprefix("grad_")] == 0)] = 0
    return (difference.max() / expected.abs().max().clamp(min=1e-30)).item()


def compare(path: Path, device: torch.device) -> Iterator[Row]:
    """Rows of one file, in both precisions; none if no strategy here produced such files."""
    runner = RUNNERS.get(path.stem.split("_")[0])
    if runner is None:
        return
    with np.load(path) as file:
        vectors = dict(file)
    for dtype, (loss_tolerance, tensor_tolerance) in TOLERANCES.items():
        for name, actual in runner(vectors, dtype, device).items():
            tolerance = loss_tolerance if actual.dim() == 0 else tensor_tolerance
            if not actual.is_floating_point():
                tolerance = 0.0  # labels and indices
            yield Row(path.name, dtype, name, relative_error(name, actual, vectors), tolerance)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of .npz vectors")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    directory = args.directory
    files = sorted(directory.glob("*.npz"))
    num_rows, num_failed = 0, 0
    for path in files:
        rows = list(compare(path, args.device))
        if not rows:
            print(f"{path.name:40} not compared: no strategy of that name")
        for row in rows:
            dtype = str(row.dtype).removeprefix("torch.")
            verdict = "ok" if row.passed else "FAILED"
            print(
                f"{row.file:40} {dtype:8} {row.tensor:18} {row.error:9.2e} "
                f"(<= {row.tolerance:.0e}) {verdict}"
            )
        num_rows += len(rows)
        num_failed += sum(not row.passed for row in rows)
    if num_rows == 0:
        print(f"Nothing to compare in {directory}: it holds no <strategy>_*.npz of a strategy here")
        return 1
    print(f"{num_rows - num_failed} of {num_rows} tensors agree")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())

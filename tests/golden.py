"""Compare the label assignments with reference vectors: ``python tests/golden.py DIR``.

Each ``DIR/<strategy>_*.npz`` holds inputs and the losses, gradients and targets expected for them.
A row is printed per file, precision and tensor; the exit status is 1 if any error is above its
tolerance or no file could be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autoassign.assignment import AutoAssign, GroundTruth, Predictions
from autoassign.grid import Grid, make_grid

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
    """The tensors of a file, as leaves that collect gradients."""

    def __init__(self, vectors: Vectors, dtype: torch.dtype, device: torch.device) -> None:
        num_levels = len(vectors["strides"])
        self.leaves = {
            f"{name}_{i}": torch.tensor(
                vectors[f"{name}_{i}"], dtype=dtype, device=device, requires_grad=True
            )
            for name in ("cls_logits", "ltrb", "obj_logits")
            for i in range(num_levels)
            if f"{name}_{i}" in vectors
        }
        self.num_levels = num_levels
        cls_logits = self.levels("cls_logits")
        self.grid: Grid = make_grid(
            tuple(int(s) for s in vectors["strides"]),
            tuple((x.shape[2], x.shape[3]) for x in cls_logits),
            device,
        )
        boxes = [vectors[f"gt_boxes_{j}"] for j in range(len(cls_logits[0]))]
        classes = [vectors[f"gt_classes_{j}"] for j in range(len(cls_logits[0]))]
        self.gt = GroundTruth(
            boxes=torch.tensor(np.concatenate(boxes), dtype=dtype, device=device),
            classes=torch.tensor(np.concatenate(classes), device=device),
            counts=tuple(len(x) for x in boxes),
        )

    def levels(self, name: str) -> list[Tensor]:
        """The (N, ·, H, W) tensors of all levels."""
        return [self.leaves[f"{name}_{i}"] for i in range(self.num_levels)]

    def predictions(self) -> Predictions:
        obj_logits = self.levels("obj_logits") if "obj_logits_0" in self.leaves else None
        return Predictions.from_levels(self.levels("cls_logits"), self.levels("ltrb"), obj_logits)

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


RUNNERS: dict[str, Callable[[Vectors, torch.dtype, torch.device], dict[str, Tensor]]] = {
    "autoassign": compute_autoassign,
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

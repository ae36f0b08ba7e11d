"""Small batches for the tests of AutoAssign, and both ways to compute their losses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from autoassign_oracle import OracleResult, oracle
from torch import Tensor

from autoassign.modeling import Grid, GroundTruth, Predictions, make_grid
from autoassign.modeling.assignment import AutoAssign

STRIDES = (8, 16, 32)
SIZES = ((8, 12), (4, 6), (2, 3))  # of 64 × 96 pixels
GRID: Grid = make_grid(STRIDES, SIZES, torch.device("cpu"))
NUM_CLASSES = 3

# x1, y1, width, height in pixels, class
Object = tuple[float, float, float, float, int]


@dataclass(frozen=True)
class Case:
    """Inputs of the assignment in float64; boxes and classes image by image."""

    cls_logits: Tensor
    ltrb: Tensor
    obj_logits: Tensor | None
    mu: Tensor
    sigma: Tensor
    boxes: list[Tensor]
    classes: list[Tensor]

    def leaves(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """Copies of all inputs that collect gradients."""
        names = ("cls_logits", "ltrb", "obj_logits", "mu", "sigma")
        tensors = {name: getattr(self, name) for name in names}
        return {
            name: x.to(dtype, copy=True).requires_grad_()
            for name, x in tensors.items()
            if x is not None
        }

    def ground_truth(self, dtype: torch.dtype = torch.float64) -> GroundTruth:
        return GroundTruth(
            boxes=torch.cat(self.boxes).to(dtype),
            classes=torch.cat(self.classes),
            counts=tuple(len(x) for x in self.boxes),
        )

    def assignment(self, dtype: torch.dtype = torch.float64) -> AutoAssign:
        assignment = AutoAssign(num_classes=len(self.mu)).to(dtype)
        with torch.no_grad():
            assignment.mu.copy_(self.mu)
            assignment.sigma.copy_(self.sigma)
        return assignment

    def predictions(self, leaves: dict[str, Tensor]) -> Predictions:
        return Predictions(
            cls_logits=leaves["cls_logits"],
            ltrb=leaves["ltrb"],
            obj_logits=leaves.get("obj_logits"),
        )


@dataclass(frozen=True)
class Result:
    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]
    statistics: dict[str, Tensor]


def make_case(
    images: list[list[Object]],
    *,
    seed: int = 0,
    with_objectness: bool = True,
    zero_share: float = 0.0,
    huge_share: float = 0.0,
) -> Case:
    """Random predictions for these objects; a share of the distances is 0, another 2000 px."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    num_images, num_locations = len(images), GRID.num_locations
    ltrb = 40 * rand(num_images, num_locations, 4)
    kind = rand(num_images, num_locations, 4)
    ltrb[kind < zero_share] = 0
    ltrb[kind > 1 - huge_share] += 2000
    boxes = [torch.tensor(x, dtype=torch.float64).reshape(-1, 5) for x in images]
    return Case(
        cls_logits=2 * randn(num_images, num_locations, NUM_CLASSES),
        ltrb=ltrb,
        obj_logits=randn(num_images, num_locations) if with_objectness else None,
        mu=0.5 * randn(NUM_CLASSES, 2),
        sigma=0.5 + 1.5 * rand(NUM_CLASSES, 2),
        boxes=[torch.cat((x[:, :2], x[:, :2] + x[:, 2:4]), dim=1) for x in boxes],
        classes=[x[:, 4].long() for x in boxes],
    )


def run_assignment(case: Case, dtype: torch.dtype = torch.float64) -> Result:
    """Losses of the package's AutoAssign, and the gradients of their sum."""
    leaves = case.leaves(dtype)
    assignment = case.assignment(dtype)
    losses, statistics = assignment(case.predictions(leaves), GRID, case.ground_truth(dtype))
    sum(losses.values()).backward()
    leaves.update(mu=assignment.mu, sigma=assignment.sigma)
    return Result(
        losses={name: loss.detach() for name, loss in losses.items()},
        gradients={name: leaf.grad for name, leaf in leaves.items()},
        statistics=statistics,
    )


def run_oracle(case: Case) -> tuple[Result, OracleResult]:
    """The same from the equations, and what else the oracle knows."""
    leaves = case.leaves()
    expected = oracle(
        **{"obj_logits": None, **leaves},
        strides=STRIDES,
        sizes=SIZES,
        boxes=case.boxes,
        classes=case.classes,
    )
    losses = {name: getattr(expected, name) for name in ("loss_pos", "loss_neg", "loss_center")}
    sum(losses.values()).backward()
    result = Result(
        losses={name: loss.detach() for name, loss in losses.items()},
        gradients={name: leaf.grad for name, leaf in leaves.items()},
        statistics={},
    )
    return result, expected


def permute_images(case: Case, order: list[int]) -> Case:
    """The same batch with its images in another order."""
    return replace(
        case,
        cls_logits=case.cls_logits[order],
        ltrb=case.ltrb[order],
        obj_logits=None if case.obj_logits is None else case.obj_logits[order],
        boxes=[case.boxes[i] for i in order],
        classes=[case.classes[i] for i in order],
    )


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Greatest error relative to the largest expected entry, or to 1e-6 if that is smaller.

    A gradient that is 0 by mathematics may be rounding of 1e-15.
    """
    error = (actual - expected).abs().max()
    return (error / expected.abs().max().clamp(min=1e-6)).item()

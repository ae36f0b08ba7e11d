"""Runs of strategies whose labels depend on the predictions, and their losses done densely."""

from __future__ import annotations

import torch
from assignment_cases import GRID, Case, Object, Result
from fvcore.nn import giou_loss
from torch import Tensor

from autoassign.modeling import Grid, GroundTruth, LabelAssignment, Predictions, decode, make_grid
from autoassign.modeling.assignment import HardAssignment

CPU = torch.device("cpu")
CROWD: list[Object] = [
    (5 * (i % 9), 9 * (i // 9), 12 + i % 29, 10 + i % 23, i % 3) for i in range(40)
]
# No location lies inside the first two.
TINY: list[Object] = [(9, 9, 2, 2, 0), (89, 57, 1, 1, 2), (3, 30, 6, 7, 1)]
ORDINARY: list[Object] = [(5, 5, 50, 40, 1), (20, 10, 45, 47, 1), (8, 3, 20, 53, 0)]
LARGE: list[Object] = [(-30, -20, 140, 100, 2), (0, 0, 95, 63, 1), (60, 30, 80, 70, 0)]


def run(
    strategy: LabelAssignment, case: Case, dtype: torch.dtype = torch.float64, grid: Grid = GRID
) -> Result:
    """Losses, gradients of their sum, statistics."""
    leaves = {k: x for k, x in case.leaves(dtype).items() if k not in ("mu", "sigma")}
    losses, statistics = strategy(case.predictions(leaves), grid, case.ground_truth(dtype))
    sum(losses.values()).backward()
    return Result(
        losses={name: loss.detach() for name, loss in losses.items()},
        gradients={name: leaf.grad for name, leaf in leaves.items()},
        statistics=statistics,
    )


def probabilities(case: Case) -> Tensor:
    """(N, R, K) σ(cls) · σ(obj)."""
    probability = case.cls_logits.sigmoid()
    if case.obj_logits is None:
        return probability
    return probability * case.obj_logits.sigmoid()[..., None]


def predicted_boxes(case: Case) -> Tensor:
    """(N, R, 4) xyxy."""
    return decode(case.ltrb, GRID.locations.double())


def assigned(strategy: HardAssignment, case: Case) -> Tensor:
    """(N, R) object of the image that each location learns, or -1."""
    gt = case.ground_truth()
    with torch.no_grad():
        result = strategy.assign(case.predictions(case.leaves()), GRID, gt)
    return dense_assignment(result.pairs.select(result.winners), gt, GRID)


def dense_assignment(pairs: object, gt: GroundTruth, grid: Grid) -> Tensor:
    dense = torch.full((len(gt.counts), grid.num_locations), -1)
    first = gt.first_object[gt.image_index[pairs.objects]]
    dense.view(-1)[pairs.batch_locations] = pairs.objects - first
    return dense


def explained_losses(
    strategy: HardAssignment, case: Case, *, class_weight: float, box_weight: float
) -> Result:
    """Quality focal and GIoU losses of the targets that the explanation shows, done densely."""
    leaves = {k: x for k, x in case.leaves().items() if k not in ("mu", "sigma")}
    predictions, gt = case.predictions(leaves), case.ground_truth()
    explanation = strategy.explain(predictions, GRID, gt)
    learned = (explanation.maps["label"] > 0).nonzero().squeeze(1)
    pairs = explanation.pairs.select(learned)
    labels = explanation.maps["label"][learned]
    target_values = explanation.maps.get("class target", explanation.maps["label"])[learned]

    probability = predictions.class_probabilities()
    targets = torch.zeros_like(probability)
    image = gt.image_index[pairs.objects]
    targets[image, pairs.locations, gt.classes[pairs.objects]] = target_values
    bce = -(targets * probability.log() + (1 - targets) * (1 - probability).log())
    boxes = decode(predictions.ltrb, GRID.locations.double())[image, pairs.locations]
    box_loss = (labels * giou_loss(boxes, gt.boxes[pairs.objects], eps=1e-12)).sum()
    losses = {
        "loss_cls": class_weight
        * ((targets - probability) ** 2 * bce).sum()
        / max(1.0, float(target_values.sum())),
        "loss_box": box_weight * box_loss / max(1.0, float(labels.sum())),
    }
    sum(losses.values()).backward()
    return Result(
        losses={name: loss.detach() for name, loss in losses.items()},
        gradients={name: leaf.grad for name, leaf in leaves.items()},
        statistics={},
    )


class Scene:
    """One image of one level by hand: stride 8, R = 3 × 3 locations, 2 classes, logits 0.

    Attributes:
        cls_logits: (1, R, 2), to be changed.
        boxes: (R, 4) predicted boxes, xyxy, to be changed; empty boxes at the locations.
    """

    def __init__(self, height: int = 3, width: int = 3) -> None:
        self.grid = make_grid((8,), ((height, width),), CPU)
        self.cls_logits = torch.zeros(1, height * width, 2, dtype=torch.float64)
        self.boxes = self.grid.locations.repeat(1, 2).double()

    def predictions(self) -> Predictions:
        locations = self.grid.locations.double()
        ltrb = torch.cat((locations - self.boxes[:, :2], self.boxes[:, 2:] - locations), dim=1)
        assert (ltrb >= 0).all()
        return Predictions(cls_logits=self.cls_logits, ltrb=ltrb[None])

    def ground_truth(self, *objects: tuple[list[float], int]) -> GroundTruth:
        boxes = torch.tensor([box for box, _ in objects], dtype=torch.float64).view(-1, 4)
        return GroundTruth(boxes, torch.tensor([c for _, c in objects]).long(), (len(objects),))

    def assigned(self, strategy: HardAssignment, *objects: tuple[list[float], int]) -> list[int]:
        """The object that each location learns, or -1."""
        gt = self.ground_truth(*objects)
        with torch.no_grad():
            result = strategy.assign(self.predictions(), self.grid, gt)
        return dense_assignment(result.pairs.select(result.winners), gt, self.grid)[0].tolist()

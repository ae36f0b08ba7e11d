"""Loss terms as pure functions on tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "focal_loss",
    "negative_focal_loss",
    "paired_iou",
    "quality_focal_loss",
]

# Logits that are handled at once: few enough for a CPU's cache, enough to fill a GPU.
_LOGITS_AT_ONCE_CPU = 2**17
_LOGITS_AT_ONCE_GPU = 2**24


def negative_focal_loss(
    cls_logits: Tensor, obj_logits: Tensor | None, weights: Tensor | None = None
) -> Tensor:
    """Sum of q² · BCE(q, 0) over all locations and classes, with q = w · σ(cls) · σ(obj).

    The weight multiplies the probability, not the loss (AutoAssign, Eq. 11 and the code behind
    it). The gradient is computed along with the value: this term visits every location and class,
    and is the floor of the whole loss's cost.

    Args:
        cls_logits: (N, R, K) class logits.
        obj_logits: (N, R) objectness logits; None: probability 1.
        weights: (N, R, K) weights in [0, 1], without gradient; None: 1.

    Returns:
        Scalar, >= 0.
    """
    return _NegativeFocalLoss.apply(cls_logits, obj_logits, weights)


def focal_loss(
    cls_logits: Tensor, obj_logits: Tensor | None, index: Tensor, *, alpha: float = 0.25
) -> Tensor:
    """Sum of α_t · (1 - p_t)² · -log p_t over all locations and classes, p = σ(cls) · σ(obj).

    Focal loss (arXiv 1708.02002, Eq. 5, γ = 2) with the positives named by their place, so that
    there is no dense target and objectness may take part.

    Args:
        cls_logits: (N, R, K) class logits, the classes before the locations in memory.
        obj_logits: (N, R) objectness logits; None: probability 1.
        index: (P,) places of the positives among the (N·K·R) logits in memory, none twice.
        alpha: weight of the positives; the negatives have 1 - α.

    Returns:
        Scalar, >= 0.
    """
    logits = _probability_logits(cls_logits, obj_logits, index)
    positive = (1 - logits.sigmoid()).square() * F.softplus(-logits)
    negative = negative_focal_loss(cls_logits, obj_logits, _all_but(cls_logits, index))
    return alpha * positive.sum() + (1 - alpha) * negative


def quality_focal_loss(
    cls_logits: Tensor, obj_logits: Tensor | None, index: Tensor, targets: Tensor
) -> Tensor:
    """Sum of (y - p)² · BCE(p, y) over all locations and classes, p = σ(cls) · σ(obj).

    Quality focal loss (arXiv 2006.04388, Eq. 4, β = 2) with the targets y > 0 given by their
    place.

    Args:
        cls_logits: (N, R, K) class logits, the classes before the locations in memory.
        obj_logits: (N, R) objectness logits; None: probability 1.
        index: (P,) places of the targets among the (N·K·R) logits in memory, none twice.
        targets: (P,) y in [0, 1], without gradient; y = 0 at all other places.

    Returns:
        Scalar, >= 0.
    """
    logits = _probability_logits(cls_logits, obj_logits, index)
    distance = (targets - logits.sigmoid()).square()
    error = distance * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return error.sum() + negative_focal_loss(cls_logits, obj_logits, _all_but(cls_logits, index))


def paired_iou(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """(P,) IoU of each box with the one of the same row, both (P, 4) xyxy; differentiable."""
    overlap = torch.minimum(boxes[:, 2:], gt_boxes[:, 2:]) - torch.maximum(
        boxes[:, :2], gt_boxes[:, :2]
    )
    intersection = overlap.clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(1)
    return intersection / (areas - intersection).clamp(min=torch.finfo(boxes.dtype).tiny)


def _all_but(cls_logits: Tensor, index: Tensor) -> Tensor:
    """(N, R, K) ones, zeros at the places that ``index`` names."""
    num_images, num_locations, num_classes = cls_logits.shape
    weights = cls_logits.new_ones(num_images * num_classes * num_locations)
    weights[index] = 0
    return weights.view(num_images, num_classes, num_locations).transpose(1, 2)


def _probability_logits(cls_logits: Tensor, obj_logits: Tensor | None, index: Tensor) -> Tensor:
    """(P,) logit of p = σ(cls) · σ(obj) at the places that ``index`` names; differentiable."""
    logits = cls_logits.transpose(1, 2).flatten().index_select(0, index)
    if obj_logits is None:
        return logits
    _, num_locations, num_classes = cls_logits.shape
    image = torch.div(index, num_classes * num_locations, rounding_mode="floor")
    obj = obj_logits.flatten().index_select(0, image * num_locations + index % num_locations)
    # p / (1 - p) = 1 / ((1 + e^-obj) e^-cls + e^-obj)
    return -torch.logaddexp(F.softplus(-obj) - logits, -obj)


class _NegativeFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cls_logits: Tensor, obj_logits: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        obj_prob = None if obj_logits is None else obj_logits.sigmoid()
        grad_cls = torch.empty_like(cls_logits)
        grad_obj = torch.zeros_like(cls_logits[..., 0])
        loss = cls_logits.new_zeros(())
        # A few classes at a time: what lies between logits and gradient is short-lived.
        at_once = _LOGITS_AT_ONCE_CPU if cls_logits.device.type == "cpu" else _LOGITS_AT_ONCE_GPU
        step = max(1, at_once // max(1, cls_logits[..., 0].numel()))
        for first in range(0, cls_logits.shape[-1], step):
            classes = slice(first, first + step)
            cls_prob = cls_logits[..., classes].sigmoid()
            q = cls_prob.clone() if obj_prob is None else cls_prob * obj_prob[..., None]
            if weights is not None:
                q.mul_(weights[..., classes])
            # Where q rounds to 1 both sigmoids do, and their slopes 1 - σ make the gradient 0.
            complement = torch.sub(1, q).clamp_(min=torch.finfo(q.dtype).eps)
            term = complement.log().mul_(q).mul_(q)  # q² log(1 - q)
            loss -= term.sum()
            # q · d loss / dq = q³ / (1 - q) - 2 q² log(1 - q), and dq / d logit = q (1 - σ(logit))
            slope = q.pow_(3).div_(complement).sub_(term, alpha=2)
            if obj_prob is not None:
                grad_obj += slope.sum(dim=-1)
            grad_cls[..., classes] = slope.addcmul_(slope, cls_prob, value=-1)
        ctx.save_for_backward(grad_cls, None if obj_prob is None else grad_obj.mul_(1 - obj_prob))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad_cls, grad_obj = ctx.saved_tensors
        return (
            grad_cls * grad_output,
            None if grad_obj is None else grad_obj * grad_output,
            None,
        )

"""Loss terms as pure functions on tensors.

The class terms take the class probability p = σ(cls) · σ(obj), or σ(cls) without objectness. They
name the entries that have a target by ``index``, offsets in memory among the N·K·R class logits
(see :meth:`~autoassign.modeling.predictions.Predictions.logit_index`), so that no dense target is
built.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "FOCAL_ALPHA",
    "background_cost",
    "bce_loss",
    "class_logits_at",
    "focal_loss",
    "focal_terms",
    "giou_loss",
    "iou_log_loss",
    "iou_square_loss",
    "logits_with_objectness",
    "negative_focal_loss",
    "paired_iou",
    "probability_logits",
    "quality_focal_loss",
]

# Logits processed at a time: few enough for a CPU's cache, enough to fill a GPU.
_CHUNK_SIZE_CPU = 2**17
_CHUNK_SIZE_GPU = 2**24
# Weight of the positives in the focal loss; the negatives have 1 - α.
FOCAL_ALPHA = 0.25
# Least IoU of the logarithmic IoU loss.
_MIN_IOU = 1e-6


def negative_focal_loss(
    cls_logits: Tensor, obj_logits: Tensor | None, weights: Tensor | None = None
) -> Tensor:
    """Sum of q² · BCE(q, 0) over all locations and classes, with q = w · p.

    The weight multiplies the probability, not the loss (AutoAssign, Eq. 11 and its official code).
    The gradient is computed along with the value: this term visits every location and class, and
    dominates the cost of the whole loss.

    Args:
        cls_logits: (N, R, K) class logits.
        obj_logits: (N, R) objectness logits, or None.
        weights: (N, R, K) weights in [0, 1], without gradient; None for 1.

    Returns:
        Scalar, >= 0.
    """
    return _NegativeFocalLoss.apply(cls_logits, obj_logits, weights)


def focal_loss(
    cls_logits: Tensor,
    obj_logits: Tensor | None,
    index: Tensor,
    *,
    ignore: Tensor | None = None,
) -> Tensor:
    """Sum of α_t · (1 - p_t)² · -log p_t over all locations and classes.

    Source: focal loss (arXiv 1708.02002, Eq. 5) with α = 0.25 and γ = 2.

    Args:
        cls_logits: (N, R, K) class logits, the classes before the locations in memory.
        obj_logits: (N, R) objectness logits, or None.
        index: (P,) offsets of the positives, none twice.
        ignore: (Q,) offsets of entries that are neither positive nor negative.

    Returns:
        Scalar, >= 0.
    """
    logits = _logits_at(cls_logits, obj_logits, index)
    positive = (1 - logits.sigmoid()).square() * F.softplus(-logits)
    negative = negative_focal_loss(cls_logits, obj_logits, _all_but(cls_logits, index, ignore))
    return FOCAL_ALPHA * positive.sum() + (1 - FOCAL_ALPHA) * negative


def focal_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The :func:`focal_loss` of every logit, as that of a positive and as that of a negative."""
    probability = logits.sigmoid()
    positive = FOCAL_ALPHA * (1 - probability).square() * F.softplus(-logits)
    return positive, (1 - FOCAL_ALPHA) * probability.square() * F.softplus(logits)


def quality_focal_loss(
    cls_logits: Tensor,
    obj_logits: Tensor | None,
    index: Tensor,
    targets: Tensor,
    *,
    ignore: Tensor | None = None,
) -> Tensor:
    """Sum of (y - p)² · BCE(p, y) over all locations and classes.

    Source: quality focal loss (arXiv 2006.04388, Eq. 4) with β = 2.

    Args:
        cls_logits: (N, R, K) class logits, the classes before the locations in memory.
        obj_logits: (N, R) objectness logits, or None.
        index: (P,) offsets of the targets, none twice.
        targets: (P,) y in [0, 1], without gradient; y = 0 everywhere else.
        ignore: (Q,) offsets of entries without a loss.

    Returns:
        Scalar, >= 0.
    """
    logits = _logits_at(cls_logits, obj_logits, index)
    distance = (targets - logits.sigmoid()).square()
    error = distance * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    negative = negative_focal_loss(cls_logits, obj_logits, _all_but(cls_logits, index, ignore))
    return error.sum() + negative


def bce_loss(
    cls_logits: Tensor,
    obj_logits: Tensor | None,
    index: Tensor,
    targets: Tensor,
    *,
    ignore: Tensor | None = None,
) -> Tensor:
    """Sum of BCE(p, y) over all locations and classes; arguments of :func:`quality_focal_loss`."""
    logits = _logits_at(cls_logits, obj_logits, index)
    dense = F.softplus(probability_logits(cls_logits, obj_logits))
    if ignore is not None:
        dense = dense * _all_but(cls_logits, ignore)
    # BCE(p, y) = BCE(p, 0) - y · logit(p)
    return dense.sum() - (targets * logits).sum()


@torch.no_grad()
def background_cost(cls_logits: Tensor, obj_logits: Tensor | None) -> Tensor:
    """(N, R) sum over the classes of BCE(p, 0): what it costs that a location is background."""
    logits = probability_logits(cls_logits, obj_logits)
    # softplus(x) = max(x, 0) - log σ(|x|), several times faster on a CPU than torch's.
    log_sigmoid = logits.abs().sigmoid_().log_()
    return log_sigmoid.neg_().add_(logits.clamp(min=0)).sum(dim=2)


def giou_loss(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """(P,) 1 - GIoU of the (P, 4) boxes of the same row, xyxy in pixels; differentiable.

    Source: arXiv 1902.09630. torchvision's generalized_box_iou_loss selects overlapping boxes by
    a mask, which waits for the GPU.
    """
    eps = torch.finfo(boxes.dtype).eps
    intersection, union = _intersection_and_union(boxes, gt_boxes)
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    gt_x1, gt_y1, gt_x2, gt_y2 = gt_boxes.unbind(dim=1)
    width = torch.maximum(x2, gt_x2) - torch.minimum(x1, gt_x1)
    hull = width * (torch.maximum(y2, gt_y2) - torch.minimum(y1, gt_y1))
    return 1 - intersection / (union + eps) + (hull - union) / (hull + eps)


def iou_log_loss(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """(P,) -log IoU of the (P, 4) boxes of the same row, xyxy in pixels; differentiable."""
    return -paired_iou(boxes, gt_boxes).clamp(min=_MIN_IOU).log()


def iou_square_loss(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """(P,) 1 - IoU² of the (P, 4) boxes of the same row, xyxy in pixels; differentiable."""
    return 1 - paired_iou(boxes, gt_boxes).square()


def paired_iou(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """(P,) IoU of each box with the one of the same row, both (P, 4) xyxy; differentiable."""
    intersection, union = _intersection_and_union(boxes, gt_boxes)
    return intersection / union.clamp(min=torch.finfo(boxes.dtype).tiny)


def _intersection_and_union(boxes: Tensor, gt_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) areas in pixels²."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    gt_x1, gt_y1, gt_x2, gt_y2 = gt_boxes.unbind(dim=1)
    width = (torch.minimum(x2, gt_x2) - torch.maximum(x1, gt_x1)).clamp(min=0)
    height = (torch.minimum(y2, gt_y2) - torch.maximum(y1, gt_y1)).clamp(min=0)
    intersection = width * height
    areas = (x2 - x1) * (y2 - y1) + (gt_x2 - gt_x1) * (gt_y2 - gt_y1)
    return intersection, areas - intersection


def class_logits_at(cls_logits: Tensor, index: Tensor) -> Tensor:
    """(P,) entries of the (N, R, K) class logits at these offsets in memory; differentiable."""
    return cls_logits.transpose(1, 2).flatten().index_select(0, index)


def logits_with_objectness(cls_logits: Tensor, obj_logits: Tensor) -> Tensor:
    """Logit of σ(cls) · σ(obj), elementwise; differentiable and stable."""
    # p / (1 - p) = 1 / ((1 + e^-obj) e^-cls + e^-obj)
    return -torch.logaddexp(F.softplus(-obj_logits) - cls_logits, -obj_logits)


def probability_logits(cls_logits: Tensor, obj_logits: Tensor | None) -> Tensor:
    """(N, R, K) logits of p; differentiable."""
    if obj_logits is None:
        return cls_logits
    return logits_with_objectness(cls_logits, obj_logits[..., None])


def _logits_at(cls_logits: Tensor, obj_logits: Tensor | None, index: Tensor) -> Tensor:
    """(P,) logits of p at these offsets; differentiable."""
    logits = class_logits_at(cls_logits, index)
    if obj_logits is None:
        return logits
    _, num_locations, num_classes = cls_logits.shape
    image = torch.div(index, num_classes * num_locations, rounding_mode="floor")
    location = image * num_locations + index % num_locations
    return logits_with_objectness(logits, obj_logits.flatten().index_select(0, location))


def _all_but(cls_logits: Tensor, *indices: Tensor | None) -> Tensor:
    """(N, R, K) ones, with zeros at these offsets in memory."""
    num_images, num_locations, num_classes = cls_logits.shape
    weights = cls_logits.new_ones(num_images * num_classes * num_locations)
    for index in indices:
        if index is not None:
            weights[index] = 0
    return weights.view(num_images, num_classes, num_locations).transpose(1, 2)


class _NegativeFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cls_logits: Tensor, obj_logits: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        obj_prob = None if obj_logits is None else obj_logits.sigmoid()
        grad_cls = torch.empty_like(cls_logits)
        grad_obj = torch.zeros_like(cls_logits[..., 0])
        loss = cls_logits.new_zeros(())
        # A few classes at a time, so that intermediate tensors stay small.
        chunk_size = _CHUNK_SIZE_CPU if cls_logits.device.type == "cpu" else _CHUNK_SIZE_GPU
        step = max(1, chunk_size // max(1, cls_logits[..., 0].numel()))
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

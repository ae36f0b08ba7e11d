"""AutoAssign (arXiv 2007.03496) written slowly, straight from its equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LAMBDA = 5.0
TAU = 1 / 3
EPS = 1e-12


@dataclass
class OracleResult:
    loss_pos: Tensor
    loss_neg: Tensor
    loss_center: Tensor
    # Per image and object: (R,) positive weights, 0 outside S_n.
    positive_weights: list[list[Tensor]]
    # (N, R, K), 1 where nothing says otherwise.
    negative_weights: Tensor
    num_pairs: int
    num_fallback: int


def oracle(
    cls_logits: Tensor,
    ltrb: Tensor,
    obj_logits: Tensor | None,
    mu: Tensor,
    sigma: Tensor,
    *,
    strides: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...],
    boxes: list[Tensor],
    classes: list[Tensor],
) -> OracleResult:
    """All losses of a batch, with their weights.

    cls_logits (N, R, K), ltrb (N, R, 4) in pixels, obj_logits (N, R); ``boxes`` and ``classes``
    hold one (n, 4) and (n,) tensor per image.
    """
    x, y, stride = _locations(strides, sizes, ltrb)
    probability = cls_logits.sigmoid()
    if obj_logits is not None:
        probability = probability * obj_logits.sigmoid()[..., None]

    positive_sum = ltrb.sum() * 0
    center_sum = (mu.sum() + sigma.sum()) * 0
    prior_sum = 0.0
    num_pairs = num_fallback = num_objects = 0
    negative_weights = torch.ones_like(cls_logits)
    positive_weights: list[list[Tensor]] = []
    for image, (image_boxes, image_classes) in enumerate(zip(boxes, classes, strict=True)):
        left, top, right, bottom = ltrb[image].unbind(dim=-1)
        predicted = (x - left, y - top, x + right, y + bottom)
        best_iou = torch.zeros_like(x)
        for box in image_boxes:
            best_iou = torch.maximum(best_iou, _iou_and_giou(predicted, box)[0].detach())

        greatest_f = torch.zeros_like(negative_weights[image])
        image_prior = 0.0
        positive_weights.append([])
        for box, label in zip(image_boxes, image_classes.tolist(), strict=True):
            inside, is_fallback = _candidates(x, y, box, strides[0], sizes[0])
            num_objects += 1
            num_pairs += int(inside.sum())
            num_fallback += int(is_fallback)

            # Eq. 3-8: joint confidence of the locations of S_n.
            giou = _iou_and_giou(predicted, box)[1]
            location_confidence = torch.exp(-LAMBDA * (1 - giou))
            joint = (probability[image, :, label] * location_confidence)[inside]
            # Eq. 2: the prior, with offsets in strides.
            dx = (x - (box[0] + box[2]) / 2) / stride
            dy = (y - (box[1] + box[3]) / 2) / stride
            prior = torch.exp(-((dx - mu[label, 0]) ** 2) / (2 * sigma[label, 0] ** 2))
            prior = prior * torch.exp(-((dy - mu[label, 1]) ** 2) / (2 * sigma[label, 1] ** 2))
            prior = prior[inside]
            # Eq. 9, 10.
            weight = torch.exp(joint / TAU) * prior
            weight = weight / weight.sum()
            positive_sum = positive_sum - torch.log((weight * joint).sum())
            image_prior = image_prior + prior.sum()
            positive_weights[-1].append(torch.zeros_like(x).masked_scatter(inside, weight.detach()))

            # Eq. 11, where objects of one class share locations the greatest f counts.
            value = 1 / (1 - best_iou[inside]).clamp(min=EPS)
            spread = value.max() - value.min()
            f = torch.zeros_like(x)
            f[inside] = (value - value.min() + EPS) / (spread + EPS)
            greatest_f[:, label] = torch.maximum(greatest_f[:, label], f)
        negative_weights[image] = 1 - greatest_f
        if len(image_boxes):
            # Objects far from every location have a prior of nearly 0: the ratio is bounded.
            bounded_prior = image_prior.clamp(min=torch.finfo(x.dtype).eps)
            center_sum = center_sum + len(image_boxes) / bounded_prior
            prior_sum = prior_sum + image_prior.detach()

    q = negative_weights * probability
    negative_sum = (q**2 * -torch.log(1 - q)).sum()
    return OracleResult(
        loss_pos=0.25 * positive_sum / max(1, num_objects),
        loss_neg=0.75 * negative_sum / max(1.0, float(prior_sum)),
        loss_center=0.75 * center_sum / len(boxes),
        positive_weights=positive_weights,
        negative_weights=negative_weights,
        num_pairs=num_pairs,
        num_fallback=num_fallback,
    )


def _locations(
    strides: tuple[int, ...], sizes: tuple[tuple[int, int], ...], like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and stride of every location, each (R,)."""
    rows = [
        (column * stride, row * stride, stride)
        for stride, (height, width) in zip(strides, sizes, strict=True)
        for row in range(height)
        for column in range(width)
    ]
    x, y, stride = torch.tensor(rows, dtype=like.dtype).unbind(dim=-1)
    return x, y, stride


def _candidates(
    x: Tensor, y: Tensor, box: Tensor, finest_stride: int, finest_size: tuple[int, int]
) -> tuple[Tensor, bool]:
    """(R,) mask of S_n, and whether it is the nearest location for want of an inside one."""
    inside = (x - box[0] > 0) & (y - box[1] > 0) & (box[2] - x > 0) & (box[3] - y > 0)
    if inside.any():
        return inside, False
    height, width = finest_size
    # Python rounds half to even.
    column = round(float(box[0] + box[2]) / 2 / finest_stride)
    row = round(float(box[1] + box[3]) / 2 / finest_stride)
    column = min(max(column, 0), width - 1)
    row = min(max(row, 0), height - 1)
    inside[row * width + column] = True
    return inside, True


def _iou_and_giou(predicted: tuple[Tensor, ...], box: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of R predicted boxes with one box, each (R,)."""
    x1, y1, x2, y2 = predicted
    overlap_w = (torch.minimum(x2, box[2]) - torch.maximum(x1, box[0])).clamp(min=0)
    overlap_h = (torch.minimum(y2, box[3]) - torch.maximum(y1, box[1])).clamp(min=0)
    overlap = overlap_w * overlap_h
    union = (x2 - x1) * (y2 - y1) + (box[2] - box[0]) * (box[3] - box[1]) - overlap
    hull_w = torch.maximum(x2, box[2]) - torch.minimum(x1, box[0])
    hull_h = torch.maximum(y2, box[3]) - torch.minimum(y1, box[1])
    hull = hull_w * hull_h
    return overlap / union, overlap / union - (hull - union) / hull

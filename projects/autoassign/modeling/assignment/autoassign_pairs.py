"""The pairs of AutoAssign: what their weights are made of, and the losses summed over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import class_logits_at
from ..pairs import Pairs
from ..predictions import Predictions
from .segments import segment_max, segment_softmax, segment_sum

__all__ = ["PairTerms", "PairValues", "PairWeights", "gather"]


@dataclass(frozen=True)
class PairValues:
    """What the weights of the P pairs of m consecutive objects are computed from.

    Attributes:
        cls_logits: (P,) class logit of the object's class at the location.
        log_objectness: (P,) log σ of the objectness logit of the location, or None.
        ltrb: (P, 4) distances predicted at the location, in pixels.
        mu: (m, 2) μ of each object's class, in strides.
        sigma: (m, 2) σ of each object's class, in strides.
    """

    cls_logits: Tensor
    log_objectness: Tensor | None
    ltrb: Tensor
    mu: Tensor
    sigma: Tensor


@dataclass(frozen=True)
class PairWeights:
    """What AutoAssign decides about the P pairs of a batch; every tensor is (P,).

    Attributes:
        pairs: object and location of each entry.
        log_center: log G, the center prior (Eq. 2).
        log_joint: log P, the joint confidence of class and location (Eq. 7).
        log_confidence: log C, the confidence weight (Eq. 9).
        log_positive: log w⁺, the positive weight (Eq. 10); w⁺ sums to 1 over each object.
    """

    pairs: Pairs
    log_center: Tensor
    log_joint: Tensor
    log_confidence: Tensor
    log_positive: Tensor


def gather(
    predictions: Predictions,
    gt: GroundTruth,
    objects: slice,
    pairs: Pairs,
    mu: Tensor,
    sigma: Tensor,
) -> PairValues:
    """What is predicted at the pairs' locations; (M, 2) ``mu`` and ``sigma`` of all objects."""
    at = pairs.batch_locations
    log_objectness = None
    if predictions.obj_logits is not None:
        log_objectness = F.logsigmoid(predictions.obj_logits).flatten().index_select(0, at)
    return PairValues(
        cls_logits=class_logits_at(predictions.cls_logits, predictions.logit_index(gt, pairs)),
        log_objectness=log_objectness,
        ltrb=predictions.ltrb.flatten(0, 1).index_select(0, at),
        mu=mu[objects],
        sigma=sigma[objects],
    )


class PairTerms(torch.autograd.Function):
    """The positive loss and the sums of G, with their gradients computed along the way.

    Large objects have millions of pairs. They are processed a chunk at a time, and what is kept
    is the gradient of the dense predictions, not the result of every operation on every pair.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weigh: Callable[..., tuple[Tensor, Tensor, Tensor]],
        chunks: Sequence[tuple[slice, Pairs]],
        grid: Grid,
        gt: GroundTruth,
        cls_logits: Tensor,
        obj_logits: Tensor | None,
        ltrb: Tensor,
        mu: Tensor,
        sigma: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of -log Σ w⁺P, and (M,) ΣG and greatest w⁺ of each object.

        ``weigh`` is :meth:`AutoAssign.weigh`; the logits and ``ltrb`` are those of
        :class:`Predictions`, ``mu`` and ``sigma`` the (M, 2) of each object's class.
        """
        predictions = Predictions(cls_logits=cls_logits, ltrb=ltrb, obj_logits=obj_logits)
        grad_cls = torch.zeros_like(cls_logits.transpose(1, 2)).flatten()
        grad_obj = None if obj_logits is None else torch.zeros_like(obj_logits).flatten()
        grad_ltrb = torch.zeros_like(ltrb).flatten(0, 1)
        grad_priors = mu.new_zeros(2, 2, *mu.shape)  # of the positive loss and ΣG; to μ and σ
        positive, center_sum = mu.new_zeros(()), mu.new_zeros(len(mu))
        greatest = torch.zeros_like(center_sum)
        for objects, pairs in chunks:
            values = gather(predictions, gt, objects, pairs, mu, sigma)
            segments, num_objects = pairs.objects - objects.start, objects.stop - objects.start
            leaves = [x.requires_grad_() for x in vars(values).values() if x is not None]
            with torch.enable_grad():
                log_center, log_joint, log_confidence = weigh(values, objects, pairs, grid, gt)
                log_weight = log_confidence + log_center
            # Σ w⁺P is ΣCGP / ΣCG, whose logarithm has the difference of two softmax as gradient.
            weight, log_total = segment_softmax(log_weight, segments, num_objects)
            share, log_sum = segment_softmax(log_weight + log_joint, segments, num_objects)
            terms = [(log_joint, -share), (log_weight, weight - share)]
            outputs, gradients = zip(*(x for x in terms if x[0].requires_grad), strict=True)
            grads = torch.autograd.grad(
                outputs, leaves, gradients, retain_graph=True, materialize_grads=True
            )
            grad_priors[0, :, objects] = torch.stack(grads[-2:])
            center = log_center.detach().exp()
            if log_center.requires_grad:
                grads_center = torch.autograd.grad(log_center, leaves[-2:], center)
                grad_priors[1, :, objects] = torch.stack(grads_center)
            grad_cls.index_add_(0, predictions.logit_index(gt, pairs), grads[0])
            if grad_obj is not None:
                grad_obj.index_add_(0, pairs.batch_locations, grads[1])
            grad_ltrb.index_add_(0, pairs.batch_locations, grads[-3])
            positive += (log_total - log_sum).sum()
            center_sum[objects] = segment_sum(center, segments, num_objects)
            greatest[objects] = segment_max(weight, segments, num_objects)
        if grad_obj is not None and obj_logits is not None:  # from log σ to its logit
            grad_obj.mul_(torch.sigmoid(-obj_logits).flatten())
        num_images, num_locations, num_classes = cls_logits.shape
        ctx.save_for_backward(
            grad_cls.view(num_images, num_classes, num_locations).transpose(1, 2),
            None if grad_obj is None else grad_obj.view(num_images, num_locations),
            grad_ltrb.view_as(ltrb),
            grad_priors,
        )
        ctx.mark_non_differentiable(greatest)
        return positive, center_sum, greatest

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_positive: Tensor, grad_center: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad_cls, grad_obj, grad_ltrb, grad_priors = ctx.saved_tensors
        grad_mu, grad_sigma = grad_positive * grad_priors[0] + grad_center[:, None] * grad_priors[1]
        return (
            *(None, None, None, None),
            grad_cls * grad_positive,
            None if grad_obj is None else grad_obj * grad_positive,
            grad_ltrb * grad_positive,
            grad_mu,
            grad_sigma,
        )

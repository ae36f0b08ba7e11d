"""Loss terms as pure functions on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["negative_focal_loss"]

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

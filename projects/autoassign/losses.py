"""Loss terms as pure functions on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["negative_focal_loss"]


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
        cls_prob = cls_logits.sigmoid()
        obj_prob = None if obj_logits is None else obj_logits.sigmoid()
        q = cls_prob.clone() if obj_prob is None else cls_prob * obj_prob[..., None]
        if weights is not None:
            q.mul_(weights)
        # Where q rounds to 1 both sigmoids do, and their slopes 1 - σ make the gradient 0.
        complement = torch.sub(1, q).clamp_(min=torch.finfo(q.dtype).eps)
        log_complement = complement.log()
        loss = -(q.square().mul_(log_complement)).sum()

        # d loss / dq · q, with -dq²·log(1 - q)/dq = q² / (1 - q) - 2 q log(1 - q)
        grad = q.square().div_(complement).addcmul_(q, log_complement, value=-2).mul_(q)
        grad_obj = None
        if obj_prob is not None:
            grad_obj = grad.sum(dim=-1).mul_(1 - obj_prob)
        ctx.save_for_backward(grad.sub_(cls_prob.mul_(grad)), grad_obj)
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

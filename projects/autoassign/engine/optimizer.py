"""Optimizers by config: detectron2's SGD, AdamW, and clipping by the norm of the whole model."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.optim import Optimizer

from .parameter_groups import parameter_groups

__all__ = ["NOT_DECAYED_BY_ADAMW", "build_optimizer", "clip_full_model"]

# Factors of the head's levels; positions, which Swin's authors do not let decay.
NOT_DECAYED_BY_ADAMW = ("scales", "relative_position_bias_table", "absolute_pos_embed")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """The optimizer of ``SOLVER.OPTIMIZER``."""
    solver = cfg.SOLVER
    strategy = getattr(model, "label_assignment", None)
    not_decayed = (*NOT_DECAYED_BY_ADAMW, *getattr(strategy, "no_weight_decay", ()))
    groups = parameter_groups(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        bias_rule=solver.BIAS_RULE,
        not_decayed=not_decayed if solver.OPTIMIZER == "ADAMW" else (),
    )
    common: dict[str, Any] = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    optimizer: Optimizer
    if solver.OPTIMIZER == "ADAMW":
        optimizer = torch.optim.AdamW(groups, betas=tuple(solver.ADAMW_BETAS), **common)
    else:
        momentum, nesterov = solver.MOMENTUM, solver.NESTEROV
        optimizer = torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, **common)
    clip = solver.CLIP_GRADIENTS
    if clip.ENABLED and clip.CLIP_TYPE == "full_model":
        clip_full_model(optimizer, clip.CLIP_VALUE, clip.NORM_TYPE)
        return optimizer
    return maybe_add_gradient_clipping(cfg, optimizer)


def clip_full_model(optimizer: Optimizer, max_norm: float, norm_type: float = 2.0) -> None:
    """Clip the gradients of all of an optimizer's parameters by one norm, before each step."""

    def clip(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

    # The hook runs inside step(), after a GradScaler has unscaled the gradients.
    optimizer.register_step_pre_hook(clip)

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
    clip = cfg.SOLVER.CLIP_GRADIENTS
    build = {"SGD": _build_sgd, "ADAMW": _build_adamw}[cfg.SOLVER.OPTIMIZER]
    optimizer = build(cfg, model)
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


def _build_sgd(cfg: CfgNode, model: nn.Module) -> Optimizer:
    return torch.optim.SGD(
        _parameter_groups(cfg, model),
        lr=cfg.SOLVER.BASE_LR,
        momentum=cfg.SOLVER.MOMENTUM,
        nesterov=cfg.SOLVER.NESTEROV,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )


def _build_adamw(cfg: CfgNode, model: nn.Module) -> Optimizer:
    strategy = getattr(model, "label_assignment", None)
    not_decayed = (*NOT_DECAYED_BY_ADAMW, *getattr(strategy, "no_weight_decay", ()))
    return torch.optim.AdamW(
        _parameter_groups(cfg, model, not_decayed),
        lr=cfg.SOLVER.BASE_LR,
        betas=tuple(cfg.SOLVER.ADAMW_BETAS),
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )


def _parameter_groups(
    cfg: CfgNode, model: nn.Module, not_decayed: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    return parameter_groups(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        bias_rule=cfg.SOLVER.BIAS_RULE,
        not_decayed=not_decayed,
    )

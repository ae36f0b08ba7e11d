"""Optimizers by config: detectron2's SGD, AdamW, and clipping by the norm of the whole model."""

from __future__ import annotations

from itertools import chain

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.optim import Optimizer

from .parameter_groups import parameter_groups

__all__ = ["build_optimizer"]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """The optimizer of ``SOLVER.OPTIMIZER``."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    build = {"SGD": _build_sgd, "ADAMW": _build_adamw}[cfg.SOLVER.OPTIMIZER]
    optimizer = build(cfg, model)
    if not clip.ENABLED or clip.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer)
    # The hook runs inside step(), after a GradScaler has unscaled the gradients.
    optimizer.register_step_pre_hook(
        lambda opt, args, kwargs: _clip_full_model(opt, clip.CLIP_VALUE, clip.NORM_TYPE)
    )
    return optimizer


def _build_sgd(cfg: CfgNode, model: nn.Module) -> Optimizer:
    return torch.optim.SGD(
        parameter_groups(cfg, model),
        lr=cfg.SOLVER.BASE_LR,
        momentum=cfg.SOLVER.MOMENTUM,
        nesterov=cfg.SOLVER.NESTEROV,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        foreach=True,
    )


def _build_adamw(cfg: CfgNode, model: nn.Module) -> Optimizer:
    return torch.optim.AdamW(
        parameter_groups(cfg, model),
        lr=cfg.SOLVER.BASE_LR,
        betas=tuple(cfg.SOLVER.ADAMW_BETAS),
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )


def _clip_full_model(optimizer: Optimizer, max_norm: float, norm_type: float) -> None:
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

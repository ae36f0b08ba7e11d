"""Optimizers by config: detectron2's SGD, AdamW, and clipping by the norm of the whole model."""

from __future__ import annotations

from itertools import chain

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer as build_sgd
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.optim import Optimizer

__all__ = ["build_optimizer"]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """The optimizer of ``SOLVER.OPTIMIZER``."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip_full_model = clip.ENABLED and clip.CLIP_TYPE == "full_model"
    if clip_full_model:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    build = {"SGD": build_sgd, "ADAMW": _build_adamw}[cfg.SOLVER.OPTIMIZER]
    optimizer = build(cfg, model)
    if clip_full_model:
        # The hook runs inside step(), after a GradScaler has unscaled the gradients.
        optimizer.register_step_pre_hook(
            lambda opt, args, kwargs: _clip_full_model(opt, clip.CLIP_VALUE, clip.NORM_TYPE)
        )
    return optimizer


def _build_adamw(cfg: CfgNode, model: nn.Module) -> Optimizer:
    params = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        # Means, deviations and factors: AdamW's decay would pull them to 0 where a class is rare.
        overrides={name: {"weight_decay": 0.0} for name in ("mu", "sigma", "scales")},
    )
    return maybe_add_gradient_clipping(cfg, torch.optim.AdamW)(
        params,
        lr=cfg.SOLVER.BASE_LR,
        betas=tuple(cfg.SOLVER.ADAMW_BETAS),
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )


def _clip_full_model(optimizer: Optimizer, max_norm: float, norm_type: float) -> None:
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

"""Which parameters learn at a rate of their own, and which do not decay."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import reduce_param_groups
from torch import Tensor, nn

__all__ = ["parameter_groups"]

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
# Factors of the head's levels; positions, which Swin's authors do not let decay.
_NOT_DECAYED_BY_ADAMW = ("scales", "relative_position_bias_table", "absolute_pos_embed")


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    """The parameters that are trained, in groups of one rate and one decay.

    ``SOLVER.BIAS_LR_FACTOR`` and ``WEIGHT_DECAY_BIAS`` concern every bias (``SOLVER.BIAS_RULE``
    "detectron2"), or all but those of norms and deformable convolutions ("mmdetection").
    """
    solver = cfg.SOLVER
    if solver.BIAS_RULE == "detectron2":
        return _groups(cfg, model, solver.BIAS_LR_FACTOR, solver.WEIGHT_DECAY_BIAS)
    exempt = _norms_and_deformable_convolutions(model)
    of_biases = _groups(cfg, model, solver.BIAS_LR_FACTOR, solver.WEIGHT_DECAY_BIAS)
    of_others = _groups(cfg, model, 1.0, None)
    return reduce_param_groups(
        [
            {**group, "params": [p for p in group["params"] if (p in exempt) == is_exempt]}
            for groups, is_exempt in ((of_biases, False), (of_others, True))
            for group in groups
        ]
    )


def _groups(
    cfg: CfgNode, model: nn.Module, bias_lr_factor: float, weight_decay_bias: float | None
) -> list[dict[str, Any]]:
    names: set[str] = set()
    if cfg.SOLVER.OPTIMIZER == "ADAMW":
        # What strategies learn besides: means and deviations, where a class is rare.
        strategy = getattr(model, "label_assignment", None)
        names = {*_NOT_DECAYED_BY_ADAMW, *getattr(strategy, "no_weight_decay", ())}
    return get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=bias_lr_factor,
        weight_decay_bias=weight_decay_bias,
        overrides={name: {"weight_decay": 0.0} for name in names},
    )


def _norms_and_deformable_convolutions(model: nn.Module) -> set[Tensor]:
    """Parameters of norms, and of the convolutions that predict shifts."""
    return {
        parameter
        for name, module in model.named_modules()
        if isinstance(module, _NORMS) or "offset" in name.rpartition(".")[2]
        for parameter in module.parameters(recurse=False)
    }

"""Which parameters have another rate, and which do not decay."""

from __future__ import annotations

from typing import Any

from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import reduce_param_groups
from torch import Tensor, nn

__all__ = ["parameter_groups"]

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    weight_decay: float,
    weight_decay_norm: float = 0.0,
    bias_lr_factor: float = 1.0,
    weight_decay_bias: float | None = None,
    bias_rule: str = "detectron2",
    not_decayed: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """The parameters that are trained, in groups of one rate and one decay.

    Args:
        model: the detector.
        base_lr: rate of parameters for which no other is given.
        weight_decay: decay of parameters for which no other is given.
        weight_decay_norm: decay of the parameters of norms.
        bias_lr_factor: factor of the rate of biases.
        weight_decay_bias: decay of biases; None for that of the layer's weights.
        bias_rule: which biases the two options above concern: all, those of norms included
            ("detectron2"), or all but those of norms and of the convolutions that predict the
            shifts of deformable ones ("mmdetection").
        not_decayed: names of parameters, such as ``"scales"``, that never decay.
    """

    def groups(**of_biases: Any) -> list[dict[str, Any]]:
        return get_default_optimizer_params(
            model,
            base_lr=base_lr,
            weight_decay=weight_decay,
            weight_decay_norm=weight_decay_norm,
            overrides={name: {"weight_decay": 0.0} for name in not_decayed},
            **of_biases,
        )

    result = groups(bias_lr_factor=bias_lr_factor, weight_decay_bias=weight_decay_bias)
    if bias_rule == "detectron2":
        return result
    exempt = _norms_and_predictors_of_shifts(model)
    return reduce_param_groups(
        [
            {**group, "params": [p for p in group["params"] if (p in exempt) == is_exempt]}
            for candidates, is_exempt in ((result, False), (groups(), True))
            for group in candidates
        ]
    )


def _norms_and_predictors_of_shifts(model: nn.Module) -> set[Tensor]:
    return {
        parameter
        for name, module in model.named_modules()
        if isinstance(module, _NORMS) or "offset" in name.rpartition(".")[2]
        for parameter in module.parameters(recurse=False)
    }

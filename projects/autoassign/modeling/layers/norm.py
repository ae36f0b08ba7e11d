"""Normalization of pretrained backbones: what of it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from ...config import check_value, one_of

__all__ = ["NORMS", "AffineBatchNorm2d", "convert_batch_norms", "norm_layer"]


class AffineBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization that trains weight and bias and keeps the statistics it was loaded with.

    MMDetection's ``norm_eval=True`` with ``requires_grad=True``.
    """

    def train(self, mode: bool = True) -> AffineBatchNorm2d:
        """Stay in evaluation mode, also when the model is trained."""
        super().train(False)
        return self


def _group_norm(channels: int) -> nn.GroupNorm:
    # 32 groups, or fewer in models with 16, 24 or 40 channels.
    return nn.GroupNorm(math.gcd(32, channels), channels)


_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "FrozenBN": FrozenBatchNorm2d,
    "AffineBN": AffineBatchNorm2d,
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "GN": _group_norm,
}
NORMS = tuple(_LAYERS)


def norm_layer(option: str, norm: str) -> Callable[[int], nn.Module]:
    """The constructor of a normalization, to be called with a number of channels.

    Args:
        option: the config option that ``norm`` is from, for the message.
        norm: one of ``NORMS``.

    Raises:
        ValueError: there is no such normalization.
    """
    check_value(option, norm, one_of(*NORMS))
    return _LAYERS[norm]


def convert_batch_norms(module: nn.Module, norm_of: Callable[[str], str]) -> None:
    """Replace every BatchNorm2d below ``module``, in place.

    The new layers keep the rate and the ε of the old ones, not their weights: those are loaded
    afterwards.

    Args:
        module: a model whose batch norms are ``nn.BatchNorm2d``.
        norm_of: gives one of ``NORMS`` for the name of a layer.
    """
    batch_norms = [x for x in module.named_modules() if type(x[1]) is nn.BatchNorm2d]
    for name, old in batch_norms:
        new = _LAYERS[norm_of(name)](old.num_features)
        if not isinstance(new, nn.GroupNorm):
            new.eps, new.momentum = old.eps, old.momentum
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, new)

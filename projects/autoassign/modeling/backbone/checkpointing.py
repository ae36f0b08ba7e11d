"""Activation checkpointing: less memory, one more forward pass through the backbone."""

from __future__ import annotations

from functools import partial

from detectron2.layers import CNNBlockBase
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.resnet import BasicStem
from detectron2.modeling.backbone.swin import SwinTransformerBlock
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..layers import AffineBatchNorm2d

__all__ = ["checkpoint_activations"]


def checkpoint_activations(bottom_up: Backbone) -> None:
    """Let each block keep its input alone, and compute the rest again for its gradients.

    Gradients are the same. Frozen blocks keep nothing anyway.

    Args:
        bottom_up: a ResNet or Swin Transformer of detectron2's, changed in place.

    Raises:
        ValueError: the backbone is of another kind, or has batch norms whose statistics two
            forward passes would update twice.
    """
    blocks = [
        module
        for module in bottom_up.modules()
        if isinstance(module, CNNBlockBase | SwinTransformerBlock)
        and not isinstance(module, BasicStem)
    ]
    if not blocks:
        raise ValueError(
            "MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS is for ResNets and Swin Transformers, not "
            f"{type(bottom_up).__name__}"
        )
    if any(_updates_statistics(module) for module in bottom_up.modules()):
        raise ValueError(
            "MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS would update the statistics of batch norms "
            "twice an iteration: MODEL.RESNETS.NORM must be FrozenBN, AffineBN or GN"
        )
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _updates_statistics(module: nn.Module) -> bool:
    is_batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return is_batch_norm and not isinstance(module, AffineBatchNorm2d)

"""detectron2's Swin Transformers as bottom-ups."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, SwinTransformer
from torchvision.ops import StochasticDepth

from ...config import below, check_options, one_of

__all__ = ["build_swin_backbone"]

# arXiv 2103.14030, Section 3.3; patches of 4 pixels, windows of 7 patches.
_SIZES: dict[str, dict[str, Any]] = {
    "T": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "S": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "B": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
}


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SwinTransformer:
    """The Swin Transformer of ``MODEL.SWIN``; features p1, p2, p3 have strides 8, 16, 32.

    Its parameters have the names of Microsoft's files. ``MODEL.BACKBONE.FREEZE_AT`` 1 freezes the
    patch embedding, 2 the first stage too, and so on.

    Raises:
        ValueError: an option has a value that is not allowed.
    """
    options = cfg.MODEL.SWIN
    rules = {"SIZE": one_of(*_SIZES), "DROP_PATH_RATE": below(0, 1)}
    check_options(options, rules, "MODEL.SWIN.")
    check_options(cfg.MODEL.BACKBONE, {"FREEZE_AT": one_of(*range(6))}, "MODEL.BACKBONE.")
    swin = SwinTransformer(
        in_chans=input_shape.channels,
        # detectron2 would import timm's layer for it.
        drop_path_rate=0.0,
        out_indices=(1, 2, 3),
        # It counts the patch embedding as 0 or 1.
        frozen_stages=cfg.MODEL.BACKBONE.FREEZE_AT or -1,
        **_SIZES[options.SIZE],
    )
    blocks = [block for layer in swin.layers for block in layer.blocks]
    for i, block in enumerate(blocks):
        rate = options.DROP_PATH_RATE * i / (len(blocks) - 1)
        block.drop_path = StochasticDepth(rate, mode="row")
    return swin

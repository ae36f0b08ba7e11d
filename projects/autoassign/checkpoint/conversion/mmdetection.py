"""MMDetection 2 and 3: AutoAssign, FCOS, ATSS, and DSLA in a fork of it.

Source: the modules of MMDetection 3.3, https://github.com/open-mmlab/mmdetection.
"""

from __future__ import annotations

from torch import Tensor

from .naming import Naming, Pairs, layer_pairs, scale_pairs

__all__ = ["ATSS", "AUTOASSIGN", "DSLA", "FCOS", "reorder_patch_merging"]

_BOTTOM_UP = "backbone.bottom_up."

_RESNET: Pairs = (
    ("backbone.conv1.", f"{_BOTTOM_UP}stem.conv1."),
    ("backbone.bn1.", f"{_BOTTOM_UP}stem.conv1.norm."),
    *((f"backbone.layer{n}.", f"{_BOTTOM_UP}res{n + 1}.") for n in (1, 2, 3, 4)),
)
_SWIN: Pairs = (
    ("backbone.patch_embed.projection.", f"{_BOTTOM_UP}patch_embed.proj."),
    ("backbone.patch_embed.norm.", f"{_BOTTOM_UP}patch_embed.norm."),
    ("backbone.stages.", f"{_BOTTOM_UP}layers."),
    *((f"backbone.norm{n}.", f"{_BOTTOM_UP}norm{n}.") for n in (1, 2, 3)),
)


def _tower(theirs: str, ours: str) -> Pairs:
    """Up to eight layers of a convolution, perhaps deformable, and GroupNorm; ours with ReLU."""
    pairs: Pairs = ()
    for layer in range(8):
        conv, norm = f"{ours}{3 * layer}.", f"{ours}{3 * layer + 1}."
        pairs += layer_pairs(f"{theirs}{layer}.conv.", conv)
        pairs += layer_pairs(f"{theirs}{layer}.conv.conv_offset.", f"{conv}offset_mask.")
        pairs += layer_pairs(f"{theirs}{layer}.gn.", norm)
    return pairs


def _neck() -> Pairs:
    pairs = layer_pairs("neck.fpn_convs.3.conv.", "backbone.top_block.p6.")
    pairs += layer_pairs("neck.fpn_convs.4.conv.", "backbone.top_block.p7.")
    for n in (0, 1, 2):
        pairs += layer_pairs(f"neck.lateral_convs.{n}.conv.", f"backbone.fpn_lateral{n + 3}.")
        pairs += layer_pairs(f"neck.fpn_convs.{n}.conv.", f"backbone.fpn_output{n + 3}.")
    return pairs


_SHARED: Pairs = (
    *_RESNET,
    *_SWIN,
    *_neck(),
    *_tower("bbox_head.cls_convs.", "head.cls_tower."),
    *_tower("bbox_head.reg_convs.", "head.box_tower."),
    *scale_pairs("bbox_head.scales."),
)
_PARTS: Pairs = (
    # ResNet's blocks; the norm belongs to its convolution in detectron2.
    *((f".bn{n}.", f".conv{n}.norm.") for n in (1, 2, 3)),
    (".downsample.1.", ".shortcut.norm."),
    (".downsample.0.", ".shortcut."),
    (".conv2.conv_offset.", ".conv2_offset."),
    # Swin's.
    (".attn.w_msa.", ".attn."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
)


def _naming(predictors: dict[str, str], others: Pairs = ()) -> Naming:
    pairs = others
    for theirs, ours in predictors.items():
        pairs += layer_pairs(f"bbox_head.{theirs}.", f"head.{ours}.")
    return Naming(
        prefixes=(*_SHARED, *pairs),
        parts=_PARTS,
        dropped=(".num_batches_tracked", ".relative_position_index"),
    )


AUTOASSIGN = _naming(
    {"conv_cls": "cls_score", "conv_reg": "box_pred", "conv_centerness": "obj_score"},
    others=(
        ("bbox_head.center_prior.mean", "label_assignment.mu"),
        ("bbox_head.center_prior.sigma", "label_assignment.sigma"),
    ),
)
DSLA = _naming({"conv_cls": "cls_score", "conv_reg": "box_pred"})
FCOS = _naming({"conv_cls": "cls_score", "conv_reg": "box_pred", "conv_centerness": "ctr_score"})
ATSS = _naming({"atss_cls": "cls_score", "atss_reg": "box_pred", "atss_centerness": "ctr_score"})


def reorder_patch_merging(tensors: dict[str, Tensor]) -> None:
    """Bring the inputs of Swin's patch merging from MMDetection's into Microsoft's order.

    Both merge 2 × 2 patches of C channels. MMDetection's ``Unfold`` orders the 4 C inputs by
    channel, row and column; Microsoft's by column, row and channel.
    """
    for name, tensor in tensors.items():
        if ".downsample." in name:
            by_patch = tensor.unflatten(-1, (-1, 4)).transpose(-1, -2)
            tensors[name] = by_patch[..., [0, 2, 1, 3], :].flatten(-2)

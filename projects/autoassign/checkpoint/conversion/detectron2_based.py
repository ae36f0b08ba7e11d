"""Tools with detectron2's backbones: cvpods, AdelaiDet and detectron2 itself.

Sources: cvpods' AutoAssign, https://github.com/Megvii-BaseDetection/AutoAssign; AdelaiDet's FCOS,
https://github.com/aim-uofa/AdelaiDet; detectron2.modeling.meta_arch.fcos.
"""

from __future__ import annotations

from .naming import Naming, Pairs, scale_pairs

__all__ = ["ADELAIDET_FCOS", "CVPODS_AUTOASSIGN", "DETECTRON2_FCOS"]

_BACKBONE: Pairs = (("backbone.", "backbone."),)
# As detectron2's RetinaNet has it, which cvpods' AutoAssign and detectron2's FCOS follow.
_HEAD: Pairs = (
    ("head.cls_subnet.", "head.cls_tower."),
    ("head.bbox_subnet.", "head.box_tower."),
    ("head.cls_score.", "head.cls_score."),
    ("head.bbox_pred.", "head.box_pred."),
)
# Older versions save what follows from the config.
_DROPPED = ("pixel_mean", "pixel_std", "anchor_generator.", "shift_generator.")

CVPODS_AUTOASSIGN = Naming(
    prefixes=(
        *_BACKBONE,
        *_HEAD,
        ("head.obj_score.", "head.obj_score."),
        *scale_pairs("head.scales."),
        ("mu", "label_assignment.mu"),
        ("sigma", "label_assignment.sigma"),
    ),
    dropped=_DROPPED,
)
ADELAIDET_FCOS = Naming(
    prefixes=(
        *_BACKBONE,
        ("proposal_generator.fcos_head.cls_tower.", "head.cls_tower."),
        ("proposal_generator.fcos_head.bbox_tower.", "head.box_tower."),
        ("proposal_generator.fcos_head.cls_logits.", "head.cls_score."),
        ("proposal_generator.fcos_head.bbox_pred.", "head.box_pred."),
        ("proposal_generator.fcos_head.ctrness.", "head.ctr_score."),
        *scale_pairs("proposal_generator.fcos_head.scales."),
    ),
    dropped=_DROPPED,
)
# detectron2's FCOS has no scales; they are 1.
DETECTRON2_FCOS = Naming(
    prefixes=(
        *_BACKBONE,
        *_HEAD,
        ("head.ctrness.", "head.ctr_score."),
    ),
    dropped=_DROPPED,
)

"""The detector: backbone, head, label assignments and losses."""

from .assignment import (
    LABEL_ASSIGNMENT_REGISTRY,
    AutoAssign,
    Explanation,
    HardAssignment,
    LabelAssignment,
    build_label_assignment,
)
from .backbone import (
    LastLevelP6,
    TorchvisionBackbone,
    build_point_fpn_backbone,
    check_torchvision_model,
)
from .detector import PointDetector
from .detectron2_fcos import Detectron2FCOS
from .explanation import (
    ImageExplanation,
    ObjectMaps,
    Peak,
    check_finite,
    evaluating,
    explain_image,
    predict,
    rgb_image,
)
from .grid import Grid, make_grid
from .ground_truth import GroundTruth
from .head import PointHead
from .layers import ModulatedDeformConv
from .losses import (
    bce_loss,
    focal_loss,
    giou_loss,
    iou_log_loss,
    negative_focal_loss,
    paired_iou,
    quality_focal_loss,
)
from .pairs import Pairs, cross_pairs, inside_pair_chunks, inside_pairs, nearest_pairs
from .predictions import ExtraOutput, Predictions, decode
from .test_time_augmentation import PointDetectorWithTTA

__all__ = [
    "LABEL_ASSIGNMENT_REGISTRY",
    "AutoAssign",
    "Detectron2FCOS",
    "Explanation",
    "ExtraOutput",
    "Grid",
    "GroundTruth",
    "HardAssignment",
    "ImageExplanation",
    "LabelAssignment",
    "LastLevelP6",
    "ModulatedDeformConv",
    "ObjectMaps",
    "Pairs",
    "Peak",
    "PointDetector",
    "PointDetectorWithTTA",
    "PointHead",
    "Predictions",
    "TorchvisionBackbone",
    "bce_loss",
    "build_label_assignment",
    "build_point_fpn_backbone",
    "check_finite",
    "check_torchvision_model",
    "cross_pairs",
    "decode",
    "evaluating",
    "explain_image",
    "focal_loss",
    "giou_loss",
    "inside_pair_chunks",
    "inside_pairs",
    "iou_log_loss",
    "make_grid",
    "nearest_pairs",
    "negative_focal_loss",
    "paired_iou",
    "predict",
    "quality_focal_loss",
    "rgb_image",
]

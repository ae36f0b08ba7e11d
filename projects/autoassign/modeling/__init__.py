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
from .pairs import Pairs, inside_pairs, nearest_pairs
from .predictions import ExtraOutput, Predictions, decode
from .test_time_augmentation import PointDetectorWithTTA

__all__ = [
    "LABEL_ASSIGNMENT_REGISTRY",
    "AutoAssign",
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
    "build_label_assignment",
    "build_point_fpn_backbone",
    "check_finite",
    "check_torchvision_model",
    "decode",
    "evaluating",
    "explain_image",
    "inside_pairs",
    "make_grid",
    "nearest_pairs",
    "predict",
    "rgb_image",
]

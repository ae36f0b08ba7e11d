"""Label assignments: the registry, the interface, and one file a strategy."""

from ...config import LABEL_ASSIGNMENT_REGISTRY
from .atss import ATSS
from .autoassign import AutoAssign
from .dsla import DSLA
from .fcos import FCOS
from .freeanchor import FreeAnchor
from .fsaf import FSAF
from .geometry import (
    candidate_pairs,
    center_distance,
    centerness,
    level_ranges,
    nearest_first,
    pair_anchors,
    pair_levels,
    pair_ltrb,
    pair_offsets,
    select_winners,
)
from .guided_anchoring import GuidedAnchoring
from .hard import BOX_LOSSES, CENTERNESS, CLASS_LOSSES, Assignment, HardAssignment
from .interface import Explanation, LabelAssignment, build_label_assignment
from .max_iou import MaxIoU
from .objectness import explicit_objectness_loss
from .sapd import SAPD
from .segments import (
    segment_argmax,
    segment_logsumexp,
    segment_max,
    segment_mean,
    segment_rank,
    segment_softmax,
    segment_sum,
    segment_topk,
)
from .simota import SimOTA
from .tal import TAL
from .workers import mean_over_workers

__all__ = [
    "ATSS",
    "BOX_LOSSES",
    "CENTERNESS",
    "CLASS_LOSSES",
    "DSLA",
    "FCOS",
    "FSAF",
    "LABEL_ASSIGNMENT_REGISTRY",
    "SAPD",
    "TAL",
    "Assignment",
    "AutoAssign",
    "Explanation",
    "FreeAnchor",
    "GuidedAnchoring",
    "HardAssignment",
    "LabelAssignment",
    "MaxIoU",
    "SimOTA",
    "build_label_assignment",
    "candidate_pairs",
    "center_distance",
    "centerness",
    "explicit_objectness_loss",
    "level_ranges",
    "mean_over_workers",
    "nearest_first",
    "pair_anchors",
    "pair_levels",
    "pair_ltrb",
    "pair_offsets",
    "segment_argmax",
    "segment_logsumexp",
    "segment_max",
    "segment_mean",
    "segment_rank",
    "segment_softmax",
    "segment_sum",
    "segment_topk",
    "select_winners",
]

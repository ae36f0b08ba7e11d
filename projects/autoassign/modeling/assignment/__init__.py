"""Label assignments: the registry, the interface, and one file a strategy."""

from .atss import ATSS
from .autoassign import AutoAssign
from .base import LABEL_ASSIGNMENT_REGISTRY, LabelAssignment, build_label_assignment
from .dsla import DSLA
from .fcos import FCOS
from .objectness import explicit_objectness_loss
from .structures import Explanation, GroundTruth, Predictions

__all__ = [
    "ATSS",
    "DSLA",
    "FCOS",
    "LABEL_ASSIGNMENT_REGISTRY",
    "AutoAssign",
    "Explanation",
    "GroundTruth",
    "LabelAssignment",
    "Predictions",
    "build_label_assignment",
    "explicit_objectness_loss",
]

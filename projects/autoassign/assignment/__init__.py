"""Label assignments: the registry, the interface, and one file a strategy."""

from .autoassign import AutoAssign
from .base import LABEL_ASSIGNMENT_REGISTRY, LabelAssignment, build_label_assignment
from .structures import GroundTruth, Predictions

__all__ = [
    "LABEL_ASSIGNMENT_REGISTRY",
    "AutoAssign",
    "GroundTruth",
    "LabelAssignment",
    "Predictions",
    "build_label_assignment",
]

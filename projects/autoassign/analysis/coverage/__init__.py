"""What label assignments would learn of a dataset's objects, before any training."""

from .figure import draw_coverage
from .measure import Coverage, TrainingObjects, build_detectors, measure_coverage
from .table import coverage_as_dict, format_coverage

__all__ = [
    "Coverage",
    "TrainingObjects",
    "build_detectors",
    "coverage_as_dict",
    "draw_coverage",
    "format_coverage",
    "measure_coverage",
]

"""Several configs or strategies trained under equal conditions."""

from .budget import Budget
from .compare import compare
from .speed import MeasurementError

__all__ = ["Budget", "MeasurementError", "compare"]

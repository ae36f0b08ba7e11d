"""Several configs trained under equal conditions: plan, runs, tables, charts."""

from .budget import Budget
from .calibration import MeasurementError
from .session import compare

__all__ = ["Budget", "MeasurementError", "compare"]

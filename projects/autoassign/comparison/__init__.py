"""Several configs trained under equal conditions: plan, runs, tables, charts."""

from .budget import Budget
from .session import compare

__all__ = ["Budget", "compare"]

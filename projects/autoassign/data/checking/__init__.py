"""Statistics and checks of datasets."""

from .check import check_datasets

__all__ = ["check_datasets"]

"""What is known about a trained run."""

from .metrics import is_cut_off, read_metrics

__all__ = ["is_cut_off", "read_metrics"]

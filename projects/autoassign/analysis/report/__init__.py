"""One HTML page about a training run."""

from .page import write_report

__all__ = ["write_report"]

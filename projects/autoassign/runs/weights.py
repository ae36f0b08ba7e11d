"""The weights that a config names."""

from __future__ import annotations

import os

__all__ = ["check_weights_exist"]


def check_weights_exist(weights: str) -> None:
    """
    Args:
        weights: ``MODEL.WEIGHTS``; "" and addresses pass.

    Raises:
        FileNotFoundError: it names a local file that is not there.
    """
    path = weights.split("?")[0]  # "?matching_heuristics=True" is detectron2's
    if path and "://" not in path and not os.path.isfile(path):
        raise FileNotFoundError(f"MODEL.WEIGHTS: {path} does not exist")

"""Files of weights that a config names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

__all__ = ["check_weights_exist", "local_weight_file", "read_weight_file"]


def check_weights_exist(weights: str) -> None:
    """
    Raises:
        FileNotFoundError: ``MODEL.WEIGHTS`` names a local file that is not there.
    """
    path = weights.split("?")[0]  # "?matching_heuristics=True" is detectron2's
    if path and "://" not in path and not os.path.isfile(path):
        raise FileNotFoundError(f"MODEL.WEIGHTS: {path} does not exist")


# To be replaced by checkpoint.local_weight_file and checkpoint.read_weight_file.
def local_weight_file(path: str) -> str:
    """Temporary adapter."""
    try:
        local = PathManager.get_local_path(path.split("?")[0])
    except OSError as error:
        raise OSError(f"{path} cannot be fetched: {error}") from error
    if not os.path.isfile(local):
        raise FileNotFoundError(f"{path} does not exist")
    return local


def read_weight_file(path: str, *, trust: bool = False) -> dict[str, Any]:
    """Temporary adapter."""
    local = local_weight_file(path)
    try:
        content = torch.load(local, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__})"
        ) from error
    if isinstance(content, dict) and "model" not in content:
        content = {"model": content}
    if (
        not isinstance(content, dict)
        or not isinstance(content["model"], Mapping)
        or not all(isinstance(x, torch.Tensor | np.ndarray) for x in content["model"].values())
    ):
        raise ValueError(f"{path} is no checkpoint: it holds something else than named tensors")
    return content

"""Checkpoints as .safetensors: tensors, and as metadata all else that JSON can hold."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["read_safetensors", "write_safetensors"]


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors as "model", and the metadata; dicts in it have strings for keys.

    Raises:
        ImportError: the package safetensors is not installed.
        Exception: the file is damaged.
    """
    with _package().safe_open(path, framework="pt") as file:
        checkpoint: dict[str, Any] = dict(file.metadata() or {})
        checkpoint.pop("format", None)  # the tool that the tensors are of
        checkpoint["model"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for key, value in checkpoint.items():
        if isinstance(value, str):
            with contextlib.suppress(ValueError):  # of another tool, and a plain string
                checkpoint[key] = json.loads(value)
    return checkpoint


def write_safetensors(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> None:
    """Write "model" as tensors and the other entries as JSON.

    Raises:
        ImportError: the package safetensors is not installed.
        TypeError: JSON cannot hold an entry.
        OSError: the file cannot be written.
    """
    others = {key: json.dumps(value) for key, value in checkpoint.items() if key != "model"}
    model: dict[str, Tensor] = {
        name: torch.as_tensor(tensor).contiguous() for name, tensor in checkpoint["model"].items()
    }
    package = _package()
    try:
        package.torch.save_file(model, path, {"format": "pt", **others})
    except package.SafetensorError as error:
        raise OSError(str(error)) from error


def _package() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError("safetensors is not installed: pip install safetensors") from error
    return safetensors

"""The functions of :mod:`detectron2.model_zoo`, for the configs of this project."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..checkpoint import (
    CheckpointDescription,
    PointCheckpointer,
    Strictness,
    read_weight_file,
    zoo_weights,
)
from ..config import fit_to_machine, get_config_file, load_config, load_config_text

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]


def get_checkpoint_url(config_path: str) -> str:
    """Where the trained weights of a shipped config are: a file, or an address.

    Args:
        config_path: relative to ``configs/``, such as
            ``"COCO-Detection/autoassign_R_50_FPN_1x.yaml"``.

    Raises:
        FileNotFoundError: there are none; the message says where they are published and how they
            are converted.
    """
    return zoo_weights(config_path)


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """The config of that name.

    Args:
        config_path: see :func:`get_checkpoint_url`.
        trained: take the config of the trained weights, which may differ in what their source
            does otherwise, and name them in ``MODEL.WEIGHTS``. Else ``MODEL.WEIGHTS`` is what a
            training begins with.

    Raises:
        OSError: there is no such config, or there are no such weights.
        ValueError: the weights cannot be read.
    """
    if not trained:
        return load_config(config_path)
    url = get_checkpoint_url(config_path)
    description = CheckpointDescription.from_checkpoint(
        read_weight_file(f"autoassign://{config_path}"), source=url
    )
    if description is None:
        cfg = load_config(config_path)
    else:
        cfg = load_config_text(description.config, source=f"the config in {url}")
    cfg.MODEL.WEIGHTS = url
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """The detector of a shipped config, in training mode.

    Args:
        config_path: see :func:`get_checkpoint_url`.
        trained: with trained weights; else with those of the config, such as ImageNet's.
        device: ``MODEL.DEVICE``; None: that of the config, or the CPU where there is no GPU.

    Raises:
        OSError: there is no such config, or its weights cannot be fetched.
        ValueError: the weights do not fit.
    """
    cfg = get_config(config_path, trained)
    if device is not None:
        cfg.MODEL.DEVICE = device
    fit_to_machine(cfg)
    model = build_model(cfg)
    if cfg.MODEL.WEIGHTS:
        strictness = Strictness.PREDICTION if trained else Strictness.TRAINING
        checkpoint = read_weight_file(cfg.MODEL.WEIGHTS)
        PointCheckpointer(model, strictness=strictness).load_model(checkpoint)
    return model

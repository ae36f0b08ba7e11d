"""The one way from a weight file to a detector that can be used."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.modeling import build_model

from ..checkpoint import (
    CheckpointDescription,
    PointCheckpointer,
    Strictness,
    follow_weights,
    local_weight_file,
    read_weight_file,
)
from ..config import check_values, fit_to_machine, load_config, load_config_text, set_options
from ..modeling import PointDetector
from .class_names import class_metadata

__all__ = [
    "LoadedDetector",
    "explaining_build_errors",
    "load_detector",
    "load_detector_from_config",
    "load_trained_config",
]

logger = logging.getLogger(__name__)

# What detectron2 and torch raise for a model that cannot be built, apart from ValueError.
_BUILD_ERRORS = (AssertionError, ImportError, LookupError, RuntimeError, TypeError)


@contextmanager
def explaining_build_errors() -> Iterator[None]:
    """A context in which what detectron2 raises while it builds a model becomes a ValueError."""
    try:
        yield
    except _BUILD_ERRORS as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"the detector of the config cannot be built: {message}") from error


@dataclass(frozen=True)
class LoadedDetector:
    """A detector with its weights.

    Attributes:
        cfg: its config, frozen, with the number of classes and the device that are used.
        weights: the file that its weights come from, as it was named.
        model: the detector, in evaluation mode.
        metadata: ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``, see
            :func:`~autoassign.runs.class_metadata`.
    """

    cfg: CfgNode
    weights: str
    model: PointDetector
    metadata: Metadata

    @property
    def class_names(self) -> list[str]:
        """The names of its classes, "class 3" where nothing tells them."""
        return list(self.metadata.thing_classes)

    @property
    def strategy(self) -> str:
        """The name of its label assignment."""
        return self.cfg.MODEL.LABEL_ASSIGNMENT.NAME


def load_detector(
    config_file: str | None = None,
    weights: str | None = None,
    opts: Sequence[Any] = (),
    *,
    strictness: Strictness = Strictness.PREDICTION,
    class_names: Sequence[str] | None = None,
) -> LoadedDetector:
    """Build a detector and load its weights, which are read once.

    The config is that of ``config_file``; else the one inside the checkpoint, which is then
    enough; else the config.yaml beside the weights, where training leaves it.

    Args:
        config_file: path or name of a shipped config.
        weights: a checkpoint, or its address; None: ``MODEL.WEIGHTS`` of ``config_file``.
        opts: KEY VALUE or KEY=VALUE, which override the config.
        strictness: what the detector is for.
        class_names: names of all classes in the detector's order; None to find them.

    Raises:
        OSError: a file does not exist or cannot be fetched.
        ValueError: an option is wrong, or the weights are not those of the config's detector.
    """
    cfg, checkpoint = _read(config_file, weights, opts)
    if checkpoint is None:
        return load_detector_from_config(cfg, strictness=strictness, class_names=class_names)
    return _build(cfg, checkpoint, strictness, class_names)


def load_detector_from_config(
    cfg: CfgNode,
    *,
    strictness: Strictness = Strictness.PREDICTION,
    class_names: Sequence[str] | None = None,
) -> LoadedDetector:
    """As :func:`load_detector`, of a config that names its weights in ``MODEL.WEIGHTS``.

    Args:
        cfg: it is not changed.
        strictness: what the detector is for.
        class_names: names of all classes in the detector's order; None to find them.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty: name the weights of a trained detector")
    return _build(cfg.clone(), read_weight_file(cfg.MODEL.WEIGHTS), strictness, class_names)


def load_trained_config(
    config_file: str | None, weights: str | None, opts: Sequence[Any] = ()
) -> CfgNode:
    """The config of a trained detector, with its weights in ``MODEL.WEIGHTS``.

    See :func:`load_detector`, which reads the weights, too.
    """
    return _read(config_file, weights, opts)[0]


def _read(
    config_file: str | None, weights: str | None, opts: Sequence[Any]
) -> tuple[CfgNode, dict[str, Any] | None]:
    """The config, with the weights in MODEL.WEIGHTS, and the checkpoint if it was named."""
    if weights is None:
        if config_file is None:
            raise ValueError("give --config-file, --weights or both")
        return load_config(config_file, opts), None
    checkpoint = read_weight_file(weights)
    description = CheckpointDescription.from_checkpoint(checkpoint, source=weights)
    if config_file is None and description is not None:
        # A config that somebody has sent does not choose where files are written.
        folder = os.path.dirname(weights) if os.path.isfile(weights) else "output"
        cfg = load_config_text(
            description.config,
            ["OUTPUT_DIR", folder or ".", *opts],
            source=f"the config in {weights}",
        )
    else:
        config_file = config_file or _config_beside(weights)
        cfg = load_config(config_file, [*opts, "MODEL.WEIGHTS", weights])
        follow_weights(cfg, set_options(config_file, opts))
    cfg.MODEL.WEIGHTS = weights
    return cfg, checkpoint


def _config_beside(weights: str) -> str:
    path = os.path.join(os.path.dirname(local_weight_file(weights)), "config.yaml")
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"give --config-file: {weights} has no config inside, and there is no {path}"
        )
    if "_target_:" in Path(path).read_text(encoding="utf-8"):
        raise ValueError(
            f"give --config-file, a YAML file of the detector in {weights}: {path} is a LazyConfig"
        )
    return path


def _build(
    cfg: CfgNode,
    checkpoint: dict[str, Any],
    strictness: Strictness,
    class_names: Sequence[str] | None,
) -> LoadedDetector:
    weights = cfg.MODEL.WEIGHTS
    if cfg.MODEL.META_ARCHITECTURE != "PointDetector":
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; it must be "
            "PointDetector, whose predictions and label assignment this project knows"
        )
    check_values(cfg)
    cfg.defrost()
    for message in fit_to_machine(cfg):
        logger.info(message)
    if cfg.MODEL.POINT_HEAD.NUM_CLASSES == 0:
        cfg.MODEL.POINT_HEAD.NUM_CLASSES = _num_classes(weights, checkpoint["model"])
    cfg.freeze()
    description = CheckpointDescription.from_checkpoint(checkpoint, source=weights)
    with explaining_build_errors():
        model = build_model(cfg).eval()
    try:
        PointCheckpointer(model, strictness=strictness).load_model(checkpoint)
    except (RuntimeError, ValueError) as error:  # RuntimeError: a tensor that cannot be copied
        strategy = cfg.MODEL.LABEL_ASSIGNMENT.NAME
        raise ValueError(f"{weights} does not fit the config's {strategy}: {error}") from error
    # After the weights, because it may warn.
    num_classes = cfg.MODEL.POINT_HEAD.NUM_CLASSES
    metadata = class_metadata(cfg, num_classes, class_names, description=description)
    return LoadedDetector(cfg, weights, model, metadata)


def _num_classes(weights: str, tensors: dict[str, Any]) -> int:
    try:
        return len(tensors["head.cls_score.bias"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"MODEL.POINT_HEAD.NUM_CLASSES is 0, and it cannot be taken from {weights}: there is "
            "no tensor head.cls_score.bias in it, as the weights of a trained detector have"
        ) from error

"""What a checkpoint says about its training, and whether a config may resume from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import nn

from .. import __version__
from ..checkpoint import CheckpointDescription, peek
from ..config import flatten_options

__all__ = ["check_resumable", "describe", "seed_of"]

# Options that decide on the meaning of what a checkpoint holds.
_FIXED_OPTIONS = (
    "MODEL.META_ARCHITECTURE",
    "MODEL.LABEL_ASSIGNMENT.NAME",
    "MODEL.EMA.ENABLED",
    "SOLVER.OPTIMIZER",
)


def describe(cfg: CfgNode) -> CheckpointDescription:
    """Describe a training for its checkpoints.

    Args:
        cfg: its config. The classes are those of the first dataset in ``DATASETS.TRAIN``, none if
            its metadata has no ``thing_classes``.
    """
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    names = list(metadata.get("thing_classes") or ())
    ids = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    if sorted(ids.values()) != list(range(len(names))):
        ids = {index: index for index in range(len(names))}
    return CheckpointDescription(
        version=__version__,
        config=cfg.dump(),
        thing_classes=names,
        thing_dataset_id_to_contiguous_id=ids,
    )


def seed_of(checkpoint: str) -> int | None:
    """``SEED`` of the training that wrote a checkpoint; None if the file does not tell.

    Raises:
        ValueError: what it says about its training is malformed.
    """
    description = _description(peek(checkpoint) or {}, checkpoint)
    return None if description is None else _options(description, checkpoint)["SEED"]


def _description(content: Mapping[str, Any], checkpoint: str) -> CheckpointDescription | None:
    try:
        return CheckpointDescription.from_checkpoint(content)
    except ValueError as error:
        raise ValueError(f"{checkpoint} cannot be resumed from: {error}") from error


def _options(description: CheckpointDescription, checkpoint: str) -> dict[str, Any]:
    """The options of the training, by full names; those that resuming looks at are there."""
    try:
        options = flatten_options(yaml.safe_load(description.config))
        missing = {"SEED", *_FIXED_OPTIONS} - options.keys()
    except (yaml.YAMLError, AttributeError, ValueError, RecursionError):
        raise ValueError(f"{checkpoint} cannot be resumed from: its config is damaged") from None
    if missing:
        raise ValueError(
            f"{checkpoint} cannot be resumed from: its config has no {', '.join(sorted(missing))}"
        )
    return options


def check_resumable(cfg: CfgNode, model: nn.Module, checkpoint: str) -> None:
    """Check that a training with this config may resume from a checkpoint.

    Args:
        cfg: the config.
        model: the config's model.
        checkpoint: the file.

    Raises:
        ValueError: classes, optimizer or model are others than the checkpoint's, or what it says
            about them is malformed.
    """
    content = peek(checkpoint) or {}
    description = _description(content, checkpoint)
    old: dict[str, Any] = {}
    new = flatten_options(yaml.safe_load(cfg.dump()))
    if description is not None:
        old = _options(description, checkpoint)
        for key in _FIXED_OPTIONS:
            if old[key] != new[key]:
                raise ValueError(
                    f"{checkpoint} was trained with {key} {old[key]}, and now it is {new[key]}: "
                    "restore it to resume, or give another OUTPUT_DIR"
                )
        _check_same_classes(cfg, description, checkpoint)
    tensors, wanted = content.get("model", {}), model.state_dict()
    unfit = [
        name
        for name in tensors.keys() | wanted.keys()
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name].shape
    ]
    if unfit:
        changes = ", ".join(
            f"{key} {old[key]} (now {value})"
            for key, value in new.items()
            if key.startswith("MODEL.") and key in old and old[key] != value
        )
        raise ValueError(
            f"{checkpoint} does not fit the model of this config: {len(unfit)} tensors differ, "
            f"such as {min(unfit)}; it was trained with {changes or 'another model'}: restore that "
            "to resume, or give another OUTPUT_DIR"
        )


def _check_same_classes(cfg: CfgNode, description: CheckpointDescription, checkpoint: str) -> None:
    old, new = description.thing_classes, describe(cfg).thing_classes
    if not old or not new or old == new:
        return
    index = next((i for i, pair in enumerate(zip(old, new, strict=False)) if len({*pair}) > 1), -1)
    difference = (
        f"class {index} was {old[index]!r} and is {new[index]!r}"
        if index >= 0
        else f"it had {len(old)} classes and has {len(new)}"
    )
    raise ValueError(
        f"{checkpoint} was trained with other classes than those of DATASETS.TRAIN: {difference}; "
        "restore the dataset to resume, or give another OUTPUT_DIR"
    )

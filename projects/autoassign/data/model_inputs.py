"""Images with their objects as the network sees them in tests: resized, not augmented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation

from .dataset_mapper import CheckedDatasetMapper

__all__ = ["has_objects", "map_record"]


def map_record(cfg: CfgNode, record: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset dict as a model's input: the size of tests, the objects of training.

    Returns:
        ``image`` (3, H, W) in the order of ``INPUT.FORMAT``, ``instances`` with ``gt_boxes`` and
        ``gt_classes`` without crowds, and all else that the record holds.

    Raises:
        ValueError: the image cannot be read, or its size is not the annotated one.
    """
    mapper = CheckedDatasetMapper(
        is_train=True,
        augmentations=build_augmentation(cfg, is_train=False),
        image_format=cfg.INPUT.FORMAT,
    )
    return mapper(dict(record))


def has_objects(record: Mapping[str, Any]) -> bool:
    """Whether the record has an object that training would learn (no crowd)."""
    return any(not annotation.get("iscrowd", 0) for annotation in record.get("annotations", ()))

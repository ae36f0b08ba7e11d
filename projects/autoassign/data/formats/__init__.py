"""Readers of a user's dataset, one file a format."""

from .coco import coco_splits
from .coco_json import read_coco_json
from .split import Split
from .voc import voc_splits
from .yolo import yolo_splits

__all__ = ["FORMATS", "Split", "read_coco_json"]

# Format -> what turns cfg.DATASETS.CUSTOM into training and test splits.
FORMATS = {"coco": coco_splits, "voc": voc_splits, "yolo": yolo_splits}

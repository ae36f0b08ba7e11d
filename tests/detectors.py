"""A random detector and its weights, and images for it."""

from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from narrow_model import narrow_cfg
from torch import nn

# So that a detector that has learned nothing finds some objects.
OPTIONS: tuple[object, ...] = (
    *("INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 192),
    *("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.01, "TEST.DETECTIONS_PER_IMAGE", 8),
)
CLASS_NAMES = ["ant", "bee", "cow", "dog", "elk"]


def weights_in(folder: Path) -> str:
    """Weights of the detector with 5 classes, whose scores differ between places."""
    torch.manual_seed(0)
    model = build_model(narrow_cfg())
    nn.init.normal_(model.head.cls_score.weight, std=0.3)
    path = folder / "weights.pth"
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def detector_cfg(weights: str, *options: object) -> CfgNode:
    return narrow_cfg(*OPTIONS, "MODEL.WEIGHTS", weights, *options)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def assert_same(ours: Instances, theirs: Instances) -> None:
    assert len(ours) == len(theirs) > 0
    assert ours.image_size == theirs.image_size
    assert torch.equal(ours.pred_classes, theirs.pred_classes)
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
    ours_boxes, their_boxes = ours.pred_boxes.tensor, theirs.pred_boxes.tensor
    torch.testing.assert_close(ours_boxes, their_boxes, rtol=1e-4, atol=1e-2)

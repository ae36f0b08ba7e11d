"""Detectors that are measured side by side: this project's strategies and detectron2's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2 import model_zoo
from detectron2.config import get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from ...config import LABEL_ASSIGNMENT_REGISTRY, add_autoassign_config, get_config_file
from .inputs import make_objects

__all__ = ["DETECTRON2", "build_detector", "make_batch"]

# detectron2's own detectors of one stage: name -> its config.
DETECTRON2 = {
    "d2-FCOS": "COCO-Detection/fcos_R_50_FPN_1x.py",
    "d2-RetinaNet": "COCO-Detection/retinanet_R_50_FPN_1x.py",
}


def build_detector(name: str, opts: Sequence[str] = (), device: str = "cpu") -> nn.Module:
    """An R-50-FPN detector with random weights, as its 1x recipe has it.

    Args:
        name: a registered label assignment, or a key of :data:`DETECTRON2`.
        opts: KEY VALUE pairs that override the config of a label assignment.
        device: where it is built.

    Raises:
        ValueError: there is no such detector, or an option is wrong.
    """
    known = [key for key, _ in LABEL_ASSIGNMENT_REGISTRY] + list(DETECTRON2)
    if name not in known:
        raise ValueError(f"there is no detector {name!r}; it may be one of: {', '.join(known)}")
    torch.manual_seed(0)
    if name in DETECTRON2:
        return instantiate(model_zoo.get_config(DETECTRON2[name]).model).to(device)
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.merge_from_file(get_config_file(f"COCO-Detection/{name.lower()}_R_50_FPN_1x.yaml"))
    cfg.merge_from_list(list(opts))
    cfg.MODEL.DEVICE = device
    return build_model(cfg)


def make_batch(
    num_images: int, image_size: tuple[int, int], num_objects: int, num_classes: int = 80
) -> list[dict]:
    """Images of noise with random objects of 10 to 120 pixels, as a dataset mapper returns them."""
    generator = torch.Generator().manual_seed(0)
    batch = []
    for _ in range(num_images):
        boxes, classes = make_objects(num_objects, image_size, num_classes, generator)
        instances = Instances(image_size, gt_boxes=Boxes(boxes), gt_classes=classes)
        image = torch.randint(0, 256, (3, *image_size), generator=generator, dtype=torch.uint8)
        batch.append({"image": image, "instances": instances})
    return batch

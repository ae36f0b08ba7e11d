"""Detectors that are measured side by side: this project's strategies and detectron2's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2 import model_zoo
from detectron2.config import CfgNode, instantiate
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...config import (
    LABEL_ASSIGNMENT_REGISTRY,
    check_values,
    fit_to_machine,
    flatten_options,
    get_config_file,
    load_config,
)
from ...data import clean_boxes, read_coco_json
from .inputs import make_objects

__all__ = ["DETECTRON2", "build_detector", "fast_options", "make_batch", "make_batch_like"]

# detectron2's own detectors of one stage: name -> its config.
DETECTRON2 = {
    "d2-FCOS": "COCO-Detection/fcos_R_50_FPN_1x.py",
    "d2-RetinaNet": "COCO-Detection/retinanet_R_50_FPN_1x.py",
}
_FAST = "+fast"


def build_detector(name: str, opts: Sequence[str] = (), device: str = "cpu") -> nn.Module:
    """An R-50-FPN detector with random weights, as its 1x recipe has it.

    It runs in the precision that SOLVER.AMP and TEST.PRECISION say, as this project trains and
    evaluates.

    Args:
        name: a registered label assignment or a key of :data:`DETECTRON2`; with "+fast" behind it,
            :func:`fast_options` are added to its config.
        opts: KEY VALUE pairs that override the config of a label assignment.
        device: where it is built.

    Raises:
        ValueError: there is no such detector, or an option is wrong.
    """
    known = [key for key, _ in LABEL_ASSIGNMENT_REGISTRY] + list(DETECTRON2)
    detector = name.removesuffix(_FAST)
    if detector not in known:
        raise ValueError(
            f"there is no detector {name!r}; it may be one of: {', '.join(known)}, "
            f"also with {_FAST} behind it"
        )
    fast = fast_options() if name.endswith(_FAST) else []
    torch.manual_seed(0)
    if detector in DETECTRON2:
        cfg = _config("", [*fast, "MODEL.DEVICE", device])
        model = instantiate(model_zoo.get_config(DETECTRON2[detector]).model).to(device)
        if cfg.MODEL.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)
            model.backbone.register_forward_pre_hook(_to_channels_last)
        # Its FCOS cannot compute the loss in another precision; this project's do not either.
        model.head.register_forward_hook(_to_float32)
    else:
        recipe = f"COCO-Detection/{detector.lower()}_R_50_FPN_1x.yaml"
        cfg = _config(recipe, [*fast, *opts, "MODEL.DEVICE", device])
        model = build_model(cfg)
    _set_precision(model, cfg)
    return model


def _config(recipe: str, opts: Sequence[Any]) -> CfgNode:
    cfg = load_config(recipe, opts)
    check_values(cfg)
    replaced = fit_to_machine(cfg)
    if replaced:
        raise ValueError(f"this machine cannot measure that: {' '.join(replaced)}")
    return cfg


def _set_precision(model: nn.Module, cfg: CfgNode) -> None:
    forward = model.forward
    amp = cfg.SOLVER.AMP
    training = getattr(torch, amp.DTYPE) if amp.ENABLED else torch.float32
    inference = getattr(torch, cfg.TEST.PRECISION)
    device_type = torch.device(cfg.MODEL.DEVICE).type

    def forward_in_precision(batch: list[dict[str, Any]]) -> Any:
        precision = training if model.training else inference
        is_mixed = precision != torch.float32
        with torch.autocast(device_type, precision, enabled=is_mixed):
            return forward(batch)

    model.forward = forward_in_precision


def _to_channels_last(_module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0].contiguous(memory_format=torch.channels_last)


def _to_float32(
    _module: nn.Module, _inputs: Any, outputs: Sequence[Sequence[Tensor]]
) -> list[list[Tensor]]:
    return [[x.float() for x in levels] for levels in outputs]


def fast_options() -> list[Any]:
    """The options of ``recipes/fast.yaml``: KEY, VALUE, KEY, VALUE, ..."""
    recipe = yaml.safe_load(Path(get_config_file("recipes/fast.yaml")).read_text())
    return [x for pair in flatten_options(recipe).items() for x in pair]


def make_batch(
    num_images: int, image_size: tuple[int, int], num_objects: int, num_classes: int = 80
) -> list[dict]:
    """Images of noise with random objects of 10 to 120 pixels."""
    generator = torch.Generator().manual_seed(0)
    objects = [
        make_objects(num_objects, image_size, num_classes, generator) for _ in range(num_images)
    ]
    return _noise_with(objects, image_size, generator)


def make_batch_like(
    annotation_file: Path, num_images: int, image_size: tuple[int, int], num_classes: int = 80
) -> list[dict]:
    """Images of noise with the objects of some images of a COCO file, evenly spaced in it.

    Objects are cleaned as for training, and boxes are scaled with the image. Classes are those of
    the file modulo ``num_classes``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not in COCO format, or has no image, or one of unknown size.
    """
    table = read_coco_json(annotation_file).table
    if not len(table) or not table.sizes.all():
        raise ValueError(f"{annotation_file} must have images, and their height and width")
    table, _ = clean_boxes(table)
    table = table.select_objects(~table.is_crowd)
    objects = []
    for index in torch.linspace(0, len(table) - 1, num_images).long().tolist():
        rows = slice(table.offsets[index], table.offsets[index + 1])
        height, width = (new / old for new, old in zip(image_size, table.sizes[index], strict=True))
        boxes = torch.from_numpy(table.boxes[rows] * (width, height, width, height)).float()
        objects.append((boxes, torch.from_numpy(table.classes[rows]) % num_classes))
    return _noise_with(objects, image_size, torch.Generator().manual_seed(0))


def _noise_with(
    objects: Sequence[tuple[Tensor, Tensor]],
    image_size: tuple[int, int],
    generator: torch.Generator,
) -> list[dict]:
    """Images of noise with these boxes and classes, as a dataset mapper returns them."""
    return [
        {
            "image": torch.randint(
                0, 256, (3, *image_size), generator=generator, dtype=torch.uint8
            ),
            "instances": Instances(image_size, gt_boxes=Boxes(boxes), gt_classes=classes),
        }
        for boxes, classes in objects
    ]

"""Detection on several sizes of an image and on its mirror image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import DatasetMapperTTA
from detectron2.structures import Boxes, Instances
from torch import nn

from .detector import PointDetector

__all__ = ["PointDetectorWithTTA"]


class PointDetectorWithTTA(nn.Module):
    """A :class:`PointDetector` that sees each image in several views and suppresses once.

    The candidates of all views are put together before NMS. Inputs and outputs are those of
    :class:`PointDetector` in evaluation mode; images best come unresized.
    """

    @configurable
    def __init__(
        self,
        *,
        model: PointDetector,
        tta_mapper: Callable[[dict[str, Any]], list[dict[str, Any]]],
        size_ranges: Sequence[tuple[float, float]] = (),
    ) -> None:
        """
        Args:
            model: the detector.
            tta_mapper: gives the views of an input, each with its ``transforms``; see
                :class:`detectron2.modeling.DatasetMapperTTA`.
            size_ranges: for each view, the least and the greatest size that its boxes may have,
                the square root of their area in pixels of the original image; empty: all may.
        """
        super().__init__()
        self.model = model
        self.tta_mapper = tta_mapper
        self.size_ranges = list(size_ranges)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """
        Raises:
            ValueError: the model is no PointDetector, or ``TEST.AUG.SIZE_RANGES`` does not fit
                ``TEST.AUG.MIN_SIZES``.
        """
        if not isinstance(model, PointDetector):
            raise ValueError(
                "TEST.AUG.ENABLED is for MODEL.META_ARCHITECTURE PointDetector, not "
                f"{cfg.MODEL.META_ARCHITECTURE}"
            )
        options = cfg.TEST.AUG
        ranges = options.SIZE_RANGES
        if ranges and (len(ranges) != len(options.MIN_SIZES) or any(len(x) != 2 for x in ranges)):
            raise ValueError(
                f"TEST.AUG.SIZE_RANGES is {ranges}; it must be a pair (least, greatest) for each "
                f"of TEST.AUG.MIN_SIZES {options.MIN_SIZES}, or empty"
            )
        views_per_size = 2 if options.FLIP else 1
        return {
            "model": model,
            "tta_mapper": DatasetMapperTTA(cfg),
            "size_ranges": [x for x in ranges for _ in range(views_per_size)],
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detections of each image, in pixels of the original one."""
        return [{"instances": self._detect(x)} for x in batched_inputs]

    def _detect(self, image_input: dict[str, Any]) -> Instances:
        height, width = image_input["image"].shape[1:]
        image_size = (image_input.get("height", height), image_input.get("width", width))
        views = self.tta_mapper({**image_input, "height": image_size[0], "width": image_size[1]})
        found = [self._candidates(view, image_size) for view in views]
        for i, (least, greatest) in enumerate(self.size_ranges):
            size = found[i].pred_boxes.area().sqrt()
            found[i] = found[i][(size >= least) & (size <= greatest)]
        detections = self.model.suppress(Instances.cat(found))
        detections.pred_boxes.clip(image_size)
        return detections[detections.pred_boxes.nonempty()]

    def _candidates(self, view: dict[str, Any], image_size: tuple[int, int]) -> Instances:
        """The candidates of a view, in pixels of the original image."""
        images = self.model.preprocess_image([view])
        [candidates] = self.model.candidates(images, *self.model.predict(images.tensor))
        boxes = candidates.pred_boxes.tensor
        original = view["transforms"].inverse().apply_box(boxes.cpu().numpy())
        return Instances(
            image_size,
            pred_boxes=Boxes(torch.from_numpy(original).to(boxes)),
            scores=candidates.scores,
            pred_classes=candidates.pred_classes,
        )

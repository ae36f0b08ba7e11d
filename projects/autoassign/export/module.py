"""A detector as a function of tensors, for files that need neither this project nor detectron2."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modeling import PointDetector, Predictions, decode

__all__ = ["DenseModule", "DetectionModule", "Suppression"]

# Boxes, scores and classes of candidates, and an IoU, to which of them remain.
Suppression = Callable[[Tensor, Tensor, Tensor, float], Tensor]


class DenseModule(nn.Module):
    """Images to the box and the scores of every location; normalization and padding included.

    It is in evaluation mode, and so is the model.
    """

    input_names = ("images",)
    output_names: tuple[str, ...] = ("boxes", "scores")

    def __init__(self, model: PointDetector, *, half: bool = False) -> None:
        """
        Args:
            model: on the CPU. With ``half``, its weights become float16.
            half: run backbone and head in float16; inputs and outputs are float32 all the same.
        """
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        self.model = model
        model.test_precision = torch.float32  # the file has one precision of its own
        model.backbone.to(self.dtype)
        model.head.to(self.dtype)
        # Images are padded to multiples of this.
        self.size_divisibility = max(1, model.backbone.size_divisibility)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            images: (N, 3, H, W) float32, 0 to 255, channels in the order of ``INPUT.FORMAT``.

        Returns:
            Boxes (N, R, 4), xyxy in pixels of ``images``, and scores (N, R, K).
        """
        predictions, levels = self._predict(images)
        boxes = decode(predictions.ltrb, torch.cat(levels))
        return _clip(boxes, images), self.model.label_assignment.scores(predictions)

    def _predict(self, images: Tensor) -> tuple[Predictions, list[Tensor]]:
        """Predictions, and the (Hi · Wi, 2) locations of each level in pixels."""
        model = self.model
        images = (images - model.pixel_mean) / model.pixel_std
        height, width = images.shape[2:]
        step = self.size_divisibility
        images = F.pad(images, (0, -width % step, 0, -height % step)).to(self.dtype)
        features, predictions = model.predict(images)
        levels = [
            _locations(feature, stride, model.location_offset)
            for feature, stride in zip(features, model.head.strides, strict=True)
        ]
        return predictions, levels


class DetectionModule(DenseModule):
    """Images to detections, as :class:`~autoassign.PointDetector` selects them."""

    output_names = ("boxes", "scores", "classes")

    def __init__(
        self, model: PointDetector, suppression: Suppression, *, half: bool = False
    ) -> None:
        """
        Args:
            model: see :class:`DenseModule`; its thresholds become constants.
            suppression: such as :func:`~.suppression.keep_per_class`.
            half: see :class:`DenseModule`.
        """
        super().__init__(model, half=half)
        self.suppression = suppression

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            images: see :class:`DenseModule`.

        Returns:
            Boxes (N, D, 4), xyxy in pixels of ``images``; scores (N, D), descending; classes
            (N, D), int64. D is ``TEST.DETECTIONS_PER_IMAGE``. An image with fewer detections has
            scores of 0 at the end.
        """
        predictions, levels = self._predict(images)
        lengths = [x.shape[0] for x in levels]
        scores, index = self._candidates(self.model.label_assignment.scores(predictions), lengths)
        locations = torch.div(index, predictions.num_classes, rounding_mode="floor")
        classes = index - locations * predictions.num_classes
        ltrb = predictions.ltrb.gather(1, locations[..., None].expand(-1, -1, 4))
        boxes = decode(ltrb, torch.cat(levels)[locations])
        keep = self.suppression(boxes, scores, classes, self.model.test_nms_thresh)
        num_detections = self.model.max_detections_per_image
        scores, boxes, classes = _best(scores * keep, boxes, classes, num_detections)
        boxes = _clip(boxes, images)
        # As detectron2 does at last: what lies outside the image is no detection.
        is_empty = (boxes[..., 2:] <= boxes[..., :2]).any(-1)
        scores, boxes, classes = _best(scores * ~is_empty, boxes, classes, num_detections)
        return boxes, scores, classes

    def _candidates(self, scores: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
        """The best of each level by score, (N, C), and their index in (R, K).

        C is the same for every image, as a graph of tensors needs it: what is below the threshold
        has score 0 and index 0.
        """
        topk = self.model.test_topk_candidates
        num_classes = scores.shape[2]
        kept_scores, kept_index = [], []
        start = 0
        for length in lengths:
            level = scores[:, start : start + length].flatten(1)
            level = torch.where(level > self.model.test_score_thresh, level, 0.0)
            # A coarse level has fewer.
            level_scores, index = F.pad(level, (0, topk)).topk(topk)
            kept_scores.append(level_scores)
            kept_index.append(torch.where(level_scores > 0, index + start * num_classes, 0))
            start = start + length
        # The detections are chosen from no fewer than there are places for.
        padding = (0, max(0, self.model.max_detections_per_image - topk * len(lengths)))
        return F.pad(torch.cat(kept_scores, 1), padding), F.pad(torch.cat(kept_index, 1), padding)


def _locations(feature: Tensor, stride: int, offset: float) -> Tensor:
    """As :class:`~autoassign.modeling.Grid` has them, without a size or device in the graph."""
    ones = torch.ones_like(feature[0, 0], dtype=torch.float32)
    x, y = ones.cumsum(1) - 1, ones.cumsum(0) - 1
    return (torch.stack((x, y), dim=-1).flatten(0, 1) + offset) * stride


def _best(
    scores: Tensor, boxes: Tensor, classes: Tensor, num: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes of the greatest scores, descending."""
    scores, order = scores.topk(num)
    return scores, boxes.gather(1, order[..., None].expand(-1, -1, 4)), classes.gather(1, order)


def _clip(boxes: Tensor, images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    x, y = boxes[..., 0::2].clamp(min=0), boxes[..., 1::2].clamp(min=0)
    return torch.stack((x.clamp(max=width), y.clamp(max=height)), dim=-1).flatten(-2)

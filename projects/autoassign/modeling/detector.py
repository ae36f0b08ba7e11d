"""PointDetector: one prediction per location, trained by the label assignment the config names."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from ..config import below, check_value
from .assignment import LabelAssignment, build_label_assignment
from .grid import Grid, make_grid
from .ground_truth import GroundTruth
from .head import PointHead
from .postprocessing import candidates, suppress
from .predictions import Predictions

__all__ = ["PointDetector"]

# Statistics of the assignment are copied from the device as often as detectron2's Trainer writes
# metrics, not every iteration.
_STATISTICS_PERIOD = 20


@META_ARCH_REGISTRY.register()
class PointDetector(DenseDetector):
    """Backbone, :class:`PointHead` and a label assignment.

    The detector does not know which strategy it trains with: the strategy gets dense predictions
    and returns named losses.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: PointHead,
        head_in_features: Sequence[str],
        label_assignment: LabelAssignment,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        location_offset: float = 0.0,
        channels_last: bool = False,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        test_precision: torch.dtype = torch.float32,
    ) -> None:
        """
        Args:
            backbone: gives the features named in ``head_in_features``.
            head: predicts from them.
            head_in_features: levels of the pyramid, finest first.
            label_assignment: returns the losses.
            pixel_mean: mean of each image channel, in the order of the input.
            pixel_std: what each channel is divided by.
            location_offset: place of each level's first location, in strides.
            channels_last: keep the activations in channels-last memory format.
            test_score_thresh: least score of a detection.
            test_topk_candidates: candidates of each level before NMS.
            test_nms_thresh: IoU above which NMS removes the lower-scored of one class.
            max_detections_per_image: detections kept after NMS.
            test_precision: of the convolutions at test time: float32, float16 or bfloat16.

        Raises:
            ValueError: an option has a value that is not allowed.
        """
        check_value("MODEL.POINT_HEAD.LOCATION_OFFSET", location_offset, below(0, 1))
        super().__init__(
            backbone, head, list(head_in_features), pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        self.label_assignment = label_assignment
        self.location_offset = location_offset
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.test_precision = test_precision
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        options = cfg.MODEL.POINT_HEAD
        label_assignment = build_label_assignment(cfg)
        return {
            "backbone": backbone,
            "head": PointHead(
                cfg,
                _head_input_shape(backbone, options.IN_FEATURES),
                extra_outputs=label_assignment.extra_outputs,
            ),
            "head_in_features": options.IN_FEATURES,
            "label_assignment": label_assignment,
            "location_offset": options.LOCATION_OFFSET,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
            "test_score_thresh": options.SCORE_THRESH_TEST,
            "test_topk_candidates": options.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": options.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "test_precision": getattr(torch, cfg.TEST.PRECISION),
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """See :class:`DenseDetector`; in training the objects stay on the host."""
        if not self.training:
            with self._test_autocast():
                return super().forward(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        features = [features[name] for name in self.head_in_features]
        gt_instances = [x["instances"] for x in batched_inputs]
        return self.forward_training(images, features, self.head(features), gt_instances)

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalize, pad and batch the input images; a copy to a GPU is not waited for."""
        images = [x["image"].to(self.device, non_blocking=True) for x in batched_inputs]
        images = super().preprocess_image([{"image": image} for image in images])
        images.tensor = images.tensor.contiguous(memory_format=self.memory_format)
        return images

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Predictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Named losses of the label assignment; its statistics go to the event storage."""
        storage = get_event_storage() if has_event_storage() else None
        predictions = self._complete(features, predictions)
        gt = GroundTruth.from_instances(gt_instances).to(self.device)
        # Logarithms of probabilities need float32, also under autocast.
        with torch.autocast(self.device.type, enabled=False):
            losses, statistics = self.label_assignment(predictions, self.grid(features), gt)
        if storage and (storage.iter + 1) % _STATISTICS_PERIOD == 0:
            values = torch.stack([value.float() for value in statistics.values()]).tolist()
            for name, value in zip(statistics, values, strict=True):
                storage.put_scalar(f"assignment/{name}", value)
        return losses

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Predictions
    ) -> list[Instances]:
        """Detections of each image, in the coordinates of the network's input."""
        predictions = self._complete(features, predictions)
        return [self.suppress(x) for x in self.candidates(images, features, predictions)]

    def predict(self, images: Tensor) -> tuple[list[Tensor], Predictions]:
        """The features of the head's levels, and all that the label assignment sees.

        Args:
            images: (N, 3, H, W), as :meth:`preprocess_image` returns them.
        """
        with self._test_autocast():
            pyramid = self.backbone(images)
            features = [pyramid[name] for name in self.head_in_features]
            return features, self._complete(features, self.head(features))

    def _test_autocast(self) -> contextlib.AbstractContextManager:
        if self.training or self.test_precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.test_precision)

    def _complete(self, features: list[Tensor], predictions: Predictions) -> Predictions:
        """Add what the head does not know: the features, if they are needed, and the iteration."""
        in_training = self.training and has_event_storage()
        return replace(
            predictions,
            features=tuple(features) if self.label_assignment.needs_features else (),
            iteration=get_event_storage().iter if in_training else 0,
        )

    def candidates(
        self, images: ImageList, features: list[Tensor], predictions: Predictions
    ) -> list[Instances]:
        """What :meth:`suppress` chooses the detections of each image from.

        Args:
            images: the inputs.
            features: of the head's levels.
            predictions: as :meth:`predict` returns them.
        """
        return candidates(
            self.label_assignment.scores(predictions),
            predictions.ltrb,
            self.grid(features),
            images.image_sizes,
            score_thresh=self.test_score_thresh,
            topk_candidates=self.test_topk_candidates,
        )

    def suppress(self, candidates: Instances) -> Instances:
        """The detections among the candidates of one image, by descending score."""
        return suppress(
            candidates,
            nms_thresh=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
        )

    def grid(self, features: Sequence[Tensor]) -> Grid:
        """The locations that belong to these features, (N, C, Hi, Wi) of each level."""
        sizes = tuple((x.shape[2], x.shape[3]) for x in features)
        return make_grid(self.head.strides, sizes, features[0].device, self.location_offset)


def _head_input_shape(backbone: Backbone, in_features: Sequence[str]) -> list[ShapeSpec]:
    """Shapes of the head's levels.

    Raises:
        ValueError: the backbone lacks a level or has one that is not used, or the levels are not
            ordered from fine to coarse.
    """
    shapes = backbone.output_shape()
    missing = [name for name in in_features if name not in shapes]
    if missing or not in_features:
        raise ValueError(
            f"MODEL.POINT_HEAD.IN_FEATURES is {list(in_features)}; the backbone gives "
            f"{list(shapes)} (MODEL.FPN.NUM_TOP_LEVELS levels above P5)"
        )
    unused = sorted(set(shapes) - set(in_features))
    if unused:
        # Their convolutions would get no gradient, which DistributedDataParallel does not accept.
        raise ValueError(
            f"MODEL.POINT_HEAD.IN_FEATURES is {list(in_features)}; the backbone gives "
            f"{', '.join(unused)} too: name them, or leave them out of the backbone "
            "(MODEL.FPN.IN_FEATURES, MODEL.FPN.NUM_TOP_LEVELS)"
        )
    strides = [shapes[name].stride for name in in_features]
    if strides != sorted(set(strides)):
        raise ValueError(
            f"MODEL.POINT_HEAD.IN_FEATURES is {list(in_features)} with strides {strides}; "
            "name each level once, finest first"
        )
    return [shapes[name] for name in in_features]

"""PointDetector: one prediction per location, trained by the label assignment the config names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, batched_nms
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransformLinear
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from .assignment import (
    GroundTruth,
    LabelAssignment,
    Predictions,
    build_label_assignment,
    explicit_objectness_loss,
)
from .grid import Grid, make_grid
from .head import HeadOutput, PointHead

__all__ = ["PointDetector", "dense_scores"]


@META_ARCH_REGISTRY.register()
class PointDetector(DenseDetector):
    """Backbone, :class:`PointHead` and a label assignment.

    The detector does not know which strategy it trains with: it flattens the head's output, and
    the strategy returns named losses.
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

        Raises:
            ValueError: an option has a value that is not allowed.
        """
        if not 0 <= location_offset < 1:
            raise ValueError(
                f"MODEL.POINT_HEAD.LOCATION_OFFSET is {location_offset}; it lies in [0, 1) strides"
            )
        super().__init__(
            backbone, head, list(head_in_features), pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        self.label_assignment = label_assignment
        self.location_offset = location_offset
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.box2box_transform = Box2BoxTransformLinear(normalize_by_size=False)
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
                centerness=label_assignment.uses_centerness,
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
        }

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise, pad and batch the input images."""
        images = super().preprocess_image(batched_inputs)
        images.tensor = images.tensor.contiguous(memory_format=self.memory_format)
        return images

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: HeadOutput,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Named losses of the label assignment; its statistics go to the event storage."""
        grid = self.grid(features)
        gt = GroundTruth.from_instances(gt_instances)
        # Logarithms of probabilities need float32, whatever the convolutions ran in.
        with torch.autocast(self.device.type, enabled=False):
            dense = Predictions.from_levels(*predictions)
            objectness_losses = {}
            if self.head.objectness == "explicit" and dense.obj_logits is not None:
                # Its own label is all it learns from; the strategy takes it as given.
                loss_obj = explicit_objectness_loss(dense.obj_logits, grid, gt)
                objectness_losses["loss_obj"] = loss_obj
                dense = replace(dense, obj_logits=dense.obj_logits.detach())
            losses, statistics = self.label_assignment(dense, grid, gt)
        if has_event_storage():
            values = torch.stack([value.float() for value in statistics.values()]).tolist()
            for name, value in zip(statistics, values, strict=True):
                get_event_storage().put_scalar(f"assignment/{name}", value)
        return losses | objectness_losses

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: HeadOutput
    ) -> list[Instances]:
        """Detections of each image, in the coordinates of the network's input."""
        scores = [x.flatten(2).transpose(1, 2) for x in dense_scores(predictions)]  # (N, Hi·Wi, K)
        # (N, Hi·Wi, 4)
        distances = [x.float().flatten(2).transpose(1, 2) for x in predictions.ltrb]
        # A location stands for an empty box at its place: distances are decoded from its center.
        anchors = [Boxes(x.repeat(1, 2)) for x in self.grid(features).locations_per_level]
        return [
            self._inference_single_image(
                anchors, [x[i] for x in scores], [x[i] for x in distances], image_size
            )
            for i, image_size in enumerate(images.image_sizes)
        ]

    def _inference_single_image(
        self,
        anchors: list[Boxes],
        scores: list[Tensor],
        distances: list[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        candidates = self._decode_multi_level_predictions(
            anchors,
            scores,
            distances,
            self.test_score_thresh,
            self.test_topk_candidates,
            image_size,
        )
        keep = batched_nms(
            candidates.pred_boxes.tensor,
            candidates.scores,
            candidates.pred_classes,
            self.test_nms_thresh,
        )
        return candidates[keep[: self.max_detections_per_image]]

    def grid(self, features: Sequence[Tensor]) -> Grid:
        """The locations that belong to these features, (N, C, Hi, Wi) of each level."""
        sizes = tuple((x.shape[2], x.shape[3]) for x in features)
        return make_grid(self.head.strides, sizes, features[0].device, self.location_offset)


def dense_scores(predictions: HeadOutput) -> list[Tensor]:
    """(N, K, Hi, Wi) scores of each level, before NMS.

    The score is σ(cls) · σ(obj), or with center-ness √(σ(cls) · σ(obj) · σ(ctr)), as FCOS has it.
    """
    scores = [x.float().sigmoid() for x in predictions.cls_logits]
    if predictions.obj_logits is not None:
        obj_probs = [x.float().sigmoid() for x in predictions.obj_logits]
        scores = [s * p for s, p in zip(scores, obj_probs, strict=True)]
    if predictions.ctr_logits is not None:
        ctr_probs = [x.float().sigmoid() for x in predictions.ctr_logits]
        scores = [(s * p).sqrt() for s, p in zip(scores, ctr_probs, strict=True)]
    return scores


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

"""detectron2's FCOS, which is a class only, as a detector that a YAML config names."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.structures import ImageList, Instances
from torch import Tensor

__all__ = ["Detectron2FCOS"]


@META_ARCH_REGISTRY.register()
class Detectron2FCOS(FCOS):
    """detectron2's FCOS with the options of ``MODEL.POINT_HEAD`` that both detectors have.

    Center sampling, losses and the initial biases are detectron2's.
    """

    @configurable
    def __init__(self, **kwargs: Any) -> None:
        """See :class:`detectron2.modeling.meta_arch.fcos.FCOS`."""
        super().__init__(**kwargs)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        options = cfg.MODEL.POINT_HEAD
        shapes = backbone.output_shape()
        input_shape = [shapes[name] for name in options.IN_FEATURES]
        return {
            "backbone": backbone,
            "head": FCOSHead(
                input_shape=input_shape,
                num_classes=options.NUM_CLASSES,
                conv_dims=[input_shape[0].channels] * options.NUM_CONVS,
                norm=options.NORM,
                prior_prob=options.PRIOR_PROB,
            ),
            "head_in_features": options.IN_FEATURES,
            "num_classes": options.NUM_CLASSES,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "test_score_thresh": options.SCORE_THRESH_TEST,
            "test_topk_candidates": options.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": options.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: list[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Losses in float32, also under autocast: detectron2's need it."""
        predictions = [[x.float() for x in levels] for levels in predictions]
        return super().forward_training(images, features, predictions, gt_instances)

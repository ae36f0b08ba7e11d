"""detectron2's DatasetMapper, which names the file it could not read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import filter_empty_instances
from detectron2.data.transforms import TransformList
from detectron2.structures import Boxes, BoxMode, Instances

from .augmentations import build_train_augmentations
from .image_files import READ_ERRORS, check_pixel_format

__all__ = ["CheckedDatasetMapper"]

_XYXY, _XYWH = BoxMode.XYXY_ABS, BoxMode.XYWH_ABS


class CheckedDatasetMapper(DatasetMapper):
    """A :class:`detectron2.data.DatasetMapper` whose errors about an image name its file.

    Built as its base class is: ``CheckedDatasetMapper(cfg, is_train)``. An image whose size is
    not the annotated one stops with detectron2's ``SizeMismatchError``, a ValueError that names
    the file and both sizes.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        options = super().from_config(cfg, is_train)
        if is_train:
            options["augmentations"] = build_train_augmentations(cfg)
        return options

    def __call__(self, dataset_dict: dict) -> dict:
        """Map one dataset dict to the input of a model.

        Args:
            dataset_dict: one image in detectron2's dataset format. It is not modified.

        Returns:
            A dict with ``image`` (C, H, W) and, in training, ``instances`` with ``gt_boxes``
            (N, 4), xyxy in pixels of that image, and ``gt_classes`` (N,); N is 0 for an image
            without objects.

        Raises:
            ValueError: the image cannot be read, has more than 8 bits a channel, or its size is
                not the annotated one.
        """
        try:
            return self._map(dataset_dict)
        except READ_ERRORS as error:
            raise ValueError(
                f"{dataset_dict['file_name']}: the image cannot be read: {error}"
            ) from error

    def _map(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        check_pixel_format(dataset_dict["file_name"])
        return super().__call__(dataset_dict)

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: TransformList, image_shape: tuple[int, int]
    ) -> None:
        """detectron2's, for all boxes of the image at once."""
        modes = {annotation["bbox_mode"] for annotation in dataset_dict["annotations"]}
        if self.use_instance_mask or self.use_keypoint or modes - {_XYXY, _XYWH}:
            super()._transform_annotations(dataset_dict, transforms, image_shape)
            return
        objects = [x for x in dataset_dict.pop("annotations") if x.get("iscrowd", 0) == 0]
        boxes = transforms.apply_box(_xyxy_boxes(objects)).clip(min=0)
        height, width = image_shape
        instances = Instances(image_shape)
        instances.gt_boxes = Boxes(np.minimum(boxes, [width, height, width, height]))
        classes = [int(x["category_id"]) for x in objects]
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        dataset_dict["instances"] = filter_empty_instances(instances)


def _xyxy_boxes(objects: list[dict[str, Any]]) -> np.ndarray:
    """(N, 4) boxes of the objects, xyxy in pixels; as exact as BoxMode.convert makes them."""
    boxes = np.array([x["bbox"] for x in objects], dtype=np.float64).reshape(-1, 4)
    is_xywh = [x["bbox_mode"] == _XYWH for x in objects]
    if any(is_xywh):
        # detectron2 converts the box of an annotation in float32.
        xywh = torch.from_numpy(boxes[is_xywh]).float()
        boxes[is_xywh] = BoxMode.convert(xywh, _XYWH, _XYXY).numpy()
    return boxes

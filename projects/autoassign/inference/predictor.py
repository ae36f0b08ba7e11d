"""Predictor: from images of any size to detections, as a script or a notebook wants them."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..runs import LoadedDetector, load_detector_from_config

__all__ = ["Predictor"]


class Predictor:
    """A detector with its weights that takes images as they are, in batches.

    What detectron2's DefaultPredictor is for one image: it resizes as ``cfg.INPUT`` says for
    tests, brings the channels into the order of ``cfg.INPUT.FORMAT``, and returns boxes in the
    coordinates of the original images. The lowest score is
    ``cfg.MODEL.POINT_HEAD.SCORE_THRESH_TEST``. No dataset is needed.

    Only images that are padded to the same size share a batch. So an image's detections do not
    depend on the others: group normalization sees the padding.

    Attributes:
        model: the detector, in evaluation mode.
        metadata: ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``, see
            :func:`~autoassign.runs.class_metadata`.
        batch_size: the maximum number of images that go through the network at once.

    Example::

        predictor = Predictor(load_detector(weights="model_final.pth"))
        for instances in predictor([cv2.imread("a.jpg"), cv2.imread("b.jpg")]):
            print(instances.pred_boxes.tensor, instances.scores)
    """

    def __init__(
        self,
        cfg: CfgNode | LoadedDetector,
        *,
        batch_size: int = 4,
        classes: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            cfg: a detector that has been loaded, or its config, whose ``MODEL.WEIGHTS`` are then
                loaded; neither is changed. A ``MODEL.POINT_HEAD.NUM_CLASSES`` of 0 is taken from
                the weights, and without CUDA the CPU is used.
            batch_size: the maximum number of images that go through the network at once.
            classes: names of the classes to detect; None for all. Other classes use up neither
                the candidates nor the detections of an image.
            class_names: names of all classes in the order of the config's detector; None to find
                them.

        Raises:
            OSError: the weights do not exist or cannot be fetched.
            ValueError: there are no weights, or not those of this config's detector; ``classes``
                has an unknown name; or an option has a value that is not allowed.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if isinstance(cfg, LoadedDetector):
            detector = cfg
        else:
            detector = load_detector_from_config(cfg, class_names=class_names)
        self.batch_size = batch_size
        self.metadata = detector.metadata
        self.model = detector.model
        self._input_options = detector.cfg.INPUT
        if left_out := _classes_left_out(detector.class_names, classes):
            self.model = copy.deepcopy(self.model)
            with torch.no_grad():
                # Probability 0, before anything is selected by score.
                self.model.head.cls_score.bias[left_out] = -torch.inf

    def __call__(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detect the objects of some images.

        Args:
            images: each (H, W, 3) uint8, BGR, of any size.

        Returns:
            For each image, on the CPU, ``pred_boxes`` (xyxy, pixels of that image), ``scores``
            and ``pred_classes``, by descending score.

        Raises:
            ValueError: an image has another shape or type.
        """
        inputs = [self._input(index, image) for index, image in enumerate(images)]
        of_same_size = defaultdict(list)
        for index, item in enumerate(inputs):
            of_same_size[self._padded_size(item["image"])].append(index)
        results: dict[int, Instances] = {}
        for indices in of_same_size.values():
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                with torch.no_grad():
                    outputs = self.model([inputs[index] for index in batch])
                for index, output in zip(batch, outputs, strict=True):
                    results[index] = output["instances"].to("cpu")
        return [results[index] for index in range(len(inputs))]

    def _input(self, index: int, image: np.ndarray) -> dict[str, Any]:
        """The model's input for one image."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                f"image {index} is {image.dtype} of shape {image.shape}; it must be uint8 of shape "
                "(H, W, 3), in BGR order"
            )
        height, width = image.shape[:2]
        if self._input_options.FORMAT == "RGB":
            image = image[:, :, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(self._resized(image).transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}

    def _resized(self, image: np.ndarray) -> np.ndarray:
        min_size, max_size = self._input_options.MIN_SIZE_TEST, self._input_options.MAX_SIZE_TEST
        if min_size == 0:
            return image
        height, width = image.shape[:2]
        size = T.ResizeShortestEdge.get_output_shape(height, width, min_size, max_size)
        # The short side of a very long image may round to 0.
        return T.ResizeTransform(height, width, *(max(1, x) for x in size)).apply_image(image)

    def _padded_size(self, image: torch.Tensor) -> tuple[int, ...]:
        """Height and width, rounded up to what the backbone pads to."""
        step = max(1, self.model.backbone.size_divisibility)
        return tuple(-(-length // step) for length in image.shape[1:])


def _classes_left_out(known: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    if wanted is None:
        return []
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"the detector has no class {', '.join(map(repr, unknown))}; "
            f"its classes are: {', '.join(known)}"
        )
    return [index for index, name in enumerate(known) if name not in wanted]

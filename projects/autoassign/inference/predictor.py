"""Predictor: from images of any size to detections, as a script or a notebook wants them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from ..checkpoint import PointCheckpointer, local_weight_file, read_weight_file
from ..engine.setup import use_cpu_without_cuda
from ..runs.class_names import class_metadata

__all__ = ["Predictor"]

logger = logging.getLogger(__name__)

_INPUT_FORMATS = ("BGR", "RGB")


class Predictor:
    """A detector with its weights that takes images as they are, in batches.

    What detectron2's DefaultPredictor is for one image: it resizes as ``cfg.INPUT`` says for
    tests, brings the channels into the order of ``cfg.INPUT.FORMAT``, and returns boxes in the
    coordinates of the original images. The least score is
    ``cfg.MODEL.POINT_HEAD.SCORE_THRESH_TEST``. No dataset is needed.

    Only images that are padded to the same size share a batch. So an image's detections do not
    depend on its company: group normalisation sees the padding.

    Attributes:
        model: the detector, in evaluation mode.
        metadata: ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``, see
            :func:`~autoassign.runs.class_names.class_metadata`.
        batch_size: images that go through the network at once, at most.

    Example::

        predictor = Predictor(cfg, classes=["person"])
        for instances in predictor([cv2.imread("a.jpg"), cv2.imread("b.jpg")]):
            print(instances.pred_boxes.tensor, instances.scores)
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        batch_size: int = 4,
        classes: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            cfg: the detector's config; it is not changed. ``MODEL.WEIGHTS`` is read. A
                ``MODEL.POINT_HEAD.NUM_CLASSES`` of 0 is taken from these weights, and a CUDA
                device that is not there becomes the CPU.
            batch_size: images that go through the network at once, at most.
            classes: names of the classes to detect; None for all. Other classes use up neither
                the candidates nor the detections of an image.
            class_names: names of all classes in the detector's order; None to find them.

        Raises:
            OSError: the weights do not exist or cannot be fetched.
            ValueError: there are no weights, they are those of another detector or of another
                shape; ``classes`` has an unknown name; or another value is not allowed.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it is at least 1")
        _check(cfg)
        cfg = cfg.clone()
        cfg.defrost()
        if use_cpu_without_cuda(cfg):
            logger.info("No CUDA device is available: predicting on the CPU.")
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("MODEL.WEIGHTS is empty: name the weights of a trained detector")
        local_weight_file(cfg.MODEL.WEIGHTS)  # fails before the model is built
        if cfg.MODEL.POINT_HEAD.NUM_CLASSES == 0:
            cfg.MODEL.POINT_HEAD.NUM_CLASSES = _num_classes_of(cfg.MODEL.WEIGHTS)
        self.batch_size = batch_size
        self.metadata = class_metadata(cfg, cfg.MODEL.POINT_HEAD.NUM_CLASSES, class_names)
        left_out = _classes_left_out(self.metadata.thing_classes, classes)
        self.model = build_model(cfg).eval()
        _CompleteCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        with torch.no_grad():
            # Probability 0, before anything is selected by score.
            self.model.head.cls_score.bias[left_out] = -torch.inf
        self._resize = T.ResizeShortestEdge(
            [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST
        )
        self._input_format = cfg.INPUT.FORMAT

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
                f"image {index} is {image.dtype} of shape {image.shape}; Predictor takes a list of "
                "uint8 images (H, W, 3) in BGR order"
            )
        height, width = image.shape[:2]
        if self._input_format == "RGB":
            image = image[:, :, ::-1]
        resized = self._resize.get_transform(image).apply_image(image)
        tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}

    def _padded_size(self, image: torch.Tensor) -> tuple[int, ...]:
        """Height and width in the steps that the backbone pads to."""
        step = max(1, self.model.backbone.size_divisibility)
        return tuple(-(-length // step) for length in image.shape[1:])


class _CompleteCheckpointer(PointCheckpointer):
    """Takes only weights that have every tensor a prediction depends on, and no other head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, skip_mismatched=True)  # the sentence here speaks of prediction

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        for name, in_file, in_model in incompatible.incorrect_shapes:
            raise ValueError(
                f"The weights do not fit the model of this config: {name} is {tuple(in_file)} in "
                f"the file and {tuple(in_model)} in the model"
            )
        # What a label assignment learns for itself is of use in training only.
        missing = [
            name for name in incompatible.missing_keys if not name.startswith("label_assignment.")
        ]
        if missing:
            raise ValueError(
                f"The weights lack {len(missing)} tensors of this config's model, among them "
                f"{', '.join(missing[:3])}: a trained detector is needed, not a backbone"
            )
        # Without its objectness a detector's scores mean something else.
        foreign = [name for name in incompatible.unexpected_keys if name.startswith("head.")]
        if foreign:
            name = type(self.model.label_assignment).__name__
            raise ValueError(
                f"The weights have {', '.join(foreign[:3])}, which this config's {name} detector "
                "does not have: were they trained with another label assignment or objectness?"
            )
        return incompatible


def _check(cfg: CfgNode) -> None:
    if cfg.MODEL.META_ARCHITECTURE != "PointDetector":
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}: Predictor is for a "
            "PointDetector"
        )
    if cfg.INPUT.FORMAT not in _INPUT_FORMATS:
        raise ValueError(
            f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; allowed: {', '.join(_INPUT_FORMATS)}"
        )
    if cfg.INPUT.MIN_SIZE_TEST < 0:
        raise ValueError(
            f"INPUT.MIN_SIZE_TEST is {cfg.INPUT.MIN_SIZE_TEST}; it is at least 1, or 0 to leave "
            "images as they are"
        )


def _num_classes_of(weights: str) -> int:
    try:
        return len(read_weight_file(weights)["model"]["head.cls_score.bias"])
    except KeyError as error:
        raise ValueError(
            f"MODEL.POINT_HEAD.NUM_CLASSES is 0, and it cannot be taken from {weights}: there is "
            "no tensor head.cls_score.bias in it, as the weights of a trained detector have"
        ) from error


def _classes_left_out(known: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    if wanted is None:
        return []
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"The detector has no class {', '.join(map(repr, unknown))}; "
            f"its classes are: {', '.join(known)}"
        )
    return [index for index, name in enumerate(known) if name not in wanted]

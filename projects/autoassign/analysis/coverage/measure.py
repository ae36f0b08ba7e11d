"""Which locations the objects of a dataset would get, counted by the size of the objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model
from torch import Tensor

from ...config import strategy_options
from ...data import BoxTable
from ...modeling import Explanation, Grid, GroundTruth, PointDetector, Predictions

__all__ = ["SIZES", "Coverage", "TrainingObjects", "build_detectors", "measure_coverage"]

# Names of the sizes and their upper bounds, √area in pixels of the training image. 32 and 96 are
# COCO's bounds of small and medium objects.
SIZES = {"tiny": 16.0, "small": 32.0, "medium": 96.0, "large": 288.0, "huge": float("inf")}


@dataclass(frozen=True)
class TrainingObjects:
    """The objects of one image at the scale of training.

    Attributes:
        image_size: (height, width) of the resized image.
        boxes: (M, 4) xyxy in pixels of it.
        classes: (M,) class indices.
    """

    image_size: tuple[int, int]
    boxes: Tensor
    classes: Tensor

    @classmethod
    def from_table(
        cls, table: BoxTable, cfg: CfgNode, max_images: int
    ) -> Iterator[TrainingObjects]:
        """Images with objects, evenly spread over the table; crowds are left out.

        Args:
            table: with sizes of all images, its boxes cleaned.
            cfg: its INPUT section says how training resizes; of several short sides, or of a
                range, the median is used. SCALE_JITTER and CROP are not considered.
            max_images: of the table, at most.
        """
        table = table.select_objects(~table.is_crowd)
        short_side = int(np.median(cfg.INPUT.MIN_SIZE_TRAIN))
        with_objects = np.unique(table.image_index)
        number = min(max_images, len(with_objects))
        places = np.linspace(0, len(with_objects) - 1, number).round().astype(int)
        for index in with_objects[places].tolist():
            height, width = table.sizes[index].tolist()
            new_height, new_width = ResizeShortestEdge.get_output_shape(
                height, width, short_side, cfg.INPUT.MAX_SIZE_TRAIN
            )
            rows = slice(table.offsets[index], table.offsets[index + 1])
            scale = np.array([new_width / width, new_height / height] * 2)
            yield cls(
                image_size=(new_height, new_width),
                boxes=torch.tensor(table.boxes[rows] * scale, dtype=torch.float32),
                classes=torch.tensor(table.classes[rows]),
            )


class Coverage:
    """What one strategy would teach the objects of each size; arrays have a row for each size.

    Attributes:
        strategy: its name.
        strides: of the levels, finest first.
        objects: (S,) number of objects.
        without: (S,) number of objects that no location learns.
        locations: (S,) sum of the effective numbers of locations that learn an object. With
            weights w this number is (Σw)² / Σw² (Kish): the number of locations if all have one
            weight, less if a few have most of it.
        level_shares: (S, L) sum of each level's share in the weights of an object.
    """

    def __init__(self, strategy: str, strides: Sequence[int]) -> None:
        self.strategy = strategy
        self.strides = tuple(strides)
        self.objects = np.zeros(len(SIZES), dtype=np.int64)
        self.without = np.zeros(len(SIZES), dtype=np.int64)
        self.locations = np.zeros(len(SIZES))
        self.level_shares = np.zeros((len(SIZES), len(self.strides)))

    def add(self, explanation: Explanation, grid: Grid, gt: GroundTruth) -> None:
        """Count the objects of a batch by what the strategy's primary map says."""
        num_objects, num_levels = len(gt.boxes), len(grid.strides)
        objects, locations = explanation.pairs.objects, explanation.pairs.locations
        weights = explanation.maps[explanation.primary].double()
        segments = objects * num_levels + grid.location_levels.index_select(0, locations)
        levels = weights.new_zeros(num_objects * num_levels).index_add(0, segments, weights)
        levels = levels.view(num_objects, num_levels)
        squares = weights.new_zeros(num_objects).index_add(0, objects, weights.square())
        total = levels.sum(dim=1)
        is_learned = (total > 0).numpy()
        bounds = torch.tensor(list(SIZES.values())[:-1])
        size = torch.bucketize(gt.areas.sqrt(), bounds, right=True).numpy()

        self.objects += np.bincount(size, minlength=len(SIZES))
        self.without += np.bincount(size[~is_learned], minlength=len(SIZES))
        learned = size[is_learned]
        np.add.at(self.locations, learned, (total.square() / squares).numpy()[is_learned])
        np.add.at(self.level_shares, learned, (levels / total[:, None]).numpy()[is_learned])


def build_detectors(
    cfg: CfgNode, strategies: Sequence[str], fixed: Collection[str] = ()
) -> dict[str, PointDetector]:
    """The untrained detector of a config with each label assignment and its head options.

    The head options in ``fixed`` keep the values of the config.
    """
    detectors = {}
    for name in strategies:
        strategy_cfg = cfg.clone()
        strategy_cfg.MODEL.DEVICE = "cpu"
        strategy_cfg.merge_from_list(strategy_options(name, fixed))
        torch.manual_seed(0)
        detectors[name] = build_model(strategy_cfg).eval()
    return detectors


@torch.no_grad()
def measure_coverage(
    detectors: dict[str, PointDetector], images: Iterable[TrainingObjects]
) -> list[Coverage]:
    """Count, image by image, which objects each strategy would teach to which locations.

    Strategies whose assignment depends on predictions get those of the untrained head for a blank
    image: the same class probability everywhere, and one box shape on each level.

    Args:
        detectors: by the strategy's name.
        images: their objects; no pixels are needed.
    """
    result = {name: Coverage(name, x.head.strides) for name, x in detectors.items()}
    initial = {name: _initial_predictions(detector) for name, detector in detectors.items()}
    for image in images:
        gt = GroundTruth(image.boxes, image.classes, (len(image.boxes),))
        for name, detector in detectors.items():
            features = _blank_features(detector, _level_sizes(detector, image.image_size))
            grid = detector.grid(features)
            predictions = _spread(initial[name], grid)
            if detector.label_assignment.needs_features:
                predictions = replace(predictions, features=tuple(features))
            explanation = detector.label_assignment.explain(predictions, grid, gt)
            result[name].add(explanation, grid, gt)
    return list(result.values())


def _level_sizes(detector: PointDetector, image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """(Hi, Wi) of each level, for an image padded as the backbone needs it."""
    divisor = max(1, detector.backbone.size_divisibility)
    height, width = (ceil(side / divisor) * divisor for side in image_size)
    return [(ceil(height / stride), ceil(width / stride)) for stride in detector.head.strides]


def _blank_features(detector: PointDetector, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """(1, C, Hi, Wi) zeros of each level, in the memory of one number."""
    shapes = detector.backbone.output_shape()
    channels = [shapes[name].channels for name in detector.head_in_features]
    return [
        torch.zeros(1, 1, 1, 1).expand(1, c, *size) for c, size in zip(channels, sizes, strict=True)
    ]


def _initial_predictions(detector: PointDetector) -> Predictions:
    """Predictions for levels of 2 × 2 locations: GroupNorm refuses a single one."""
    sizes = [(2, 2)] * len(detector.head.strides)
    return detector.head(_blank_features(detector, sizes))


def _spread(initial: Predictions, grid: Grid) -> Predictions:
    """The same predictions at all R locations of their level."""
    places = 4 * grid.location_levels

    def spread(values: Tensor) -> Tensor:
        # (N, R, C), the classes before the locations in memory
        return values.transpose(1, -1).index_select(-1, places).transpose(1, -1)

    obj_logits = initial.obj_logits
    return replace(
        initial,
        cls_logits=spread(initial.cls_logits),
        ltrb=spread(initial.ltrb).contiguous(),
        obj_logits=None if obj_logits is None else spread(obj_logits[..., None]).squeeze(-1),
        extra={name: spread(values) for name, values in initial.extra.items()},
    )

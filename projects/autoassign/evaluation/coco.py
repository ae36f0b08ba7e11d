"""COCO evaluation through faster-coco-eval, with the numbers of pycocotools."""

import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
from detectron2.evaluation import COCOEvaluator, coco_evaluation
from faster_coco_eval import COCO as NumberedCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

__all__ = ["FastCOCOEvaluator"]

logger = logging.getLogger(__name__)


class FastCOCOEvaluator(COCOEvaluator):
    """detectron2's :class:`COCOEvaluator`, with boxes matched by faster-coco-eval.

    Arguments, results, files and log tables are those of the base class, and every number equals
    what pycocotools gives, to the last bit. Two arguments differ in what they do:

    * ``use_fast_impl`` (default True) selects faster-coco-eval; False selects pycocotools. Masks
      and keypoints, and a ``max_dets_per_image`` other than 100, always take pycocotools.
    * ``allow_cached_coco`` is False by default: a dataset that has no ``json_file`` is converted
      anew, where the base class would take the file that an earlier run, perhaps on other data,
      left in ``output_dir``.
    """

    def __init__(
        self,
        dataset_name: str,
        *args: Any,
        use_fast_impl: bool = True,
        allow_cached_coco: bool = False,
        **kwargs: Any,
    ) -> None:
        # The base class gets False because it asks for detectron2's own compiled extension.
        super().__init__(
            dataset_name,
            *args,
            use_fast_impl=False,
            allow_cached_coco=allow_cached_coco,
            **kwargs,
        )
        self._use_fast_impl = use_fast_impl

    def _eval_predictions(self, predictions: list[dict], img_ids: list | None = None) -> None:
        # The base class has no hook for the COCOeval class: with `_use_fast_impl` it takes the
        # one that its module knows as COCOeval_opt. The name is replaced for this call alone, so
        # that other evaluators in the process keep theirs.
        replaced = mock.patch.object(coco_evaluation, "COCOeval_opt", _make_coco_eval)
        with replaced, _garbage_collection_paused():
            super()._eval_predictions(predictions, img_ids=img_ids)


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """A quarter of the time goes into searching cycles among the detections, which have none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _make_coco_eval(coco_gt: COCO, coco_dt: COCO, iou_type: str) -> "COCOeval | _BoxCOCOeval":
    if iou_type == "bbox":
        return _BoxCOCOeval(coco_gt, coco_dt, iou_type, print_function=logger.info)
    return COCOeval(coco_gt, coco_dt, iou_type)


class _BoxCOCOeval(COCOeval_faster):
    """COCOeval_faster for boxes, with image ids of any type and pycocotools' last bit.

    pycocotools divides true positives by ``tp + fp + np.spacing(1)``. In float64 the small number
    changes one quotient only, 1 / 1: where the best-scored detection is right and the next one is
    wrong, the precision is 1 - 2⁻⁵² instead of 1. faster-coco-eval divides by ``tp + fp``.
    """

    cocoGt: COCO
    cocoDt: COCO

    def evaluate(self) -> None:
        self._number_images()
        params = self.params
        num_objects = _count_objects(self.cocoGt, params)
        # Whether a precision of 1 comes from the first detection alone shows at a recall that
        # takes two true positives: the power of 2 in (1/n, 2/n] for n objects. Powers of 2 are
        # few, whatever the counts are. One object never has two: its threshold is 2.
        two_found = 2.0 ** (1 - np.ceil(np.log2(np.maximum(num_objects, 1))))
        recall_thresholds = params.recThrs
        params.recThrs = np.union1d(recall_thresholds, two_found)
        super().evaluate()

        # Shape (IoU thresholds, recall thresholds, categories, areas, limits of detections).
        precision = self.eval["precision"]
        at_two_found = np.take_along_axis(
            precision, np.searchsorted(params.recThrs, two_found)[None, None, :, :, None], axis=1
        )
        kept = np.searchsorted(params.recThrs, recall_thresholds)
        precision = precision[:, kept]
        precision[(precision == 1) & (at_two_found < 1)] = 1 / (1 + np.spacing(1))
        self.eval.update(precision=precision, scores=self.eval["scores"][:, kept])
        params.recThrs = recall_thresholds

    def _number_images(self) -> None:
        """Replace image ids by 0, 1, ... where they are not integers, as in VOC.

        The compiled code takes integers only. The order is that of pycocotools, which decides
        between equal scores.
        """
        image_ids = np.unique(self.params.imgIds)
        if not np.issubdtype(image_ids.dtype, np.integer):
            numbers = {image_id: number for number, image_id in enumerate(image_ids.tolist())}
            self.cocoGt = _with_image_ids(self.cocoGt, numbers)
            self.cocoDt = _with_image_ids(self.cocoDt, numbers)
            self.params.imgIds = list(numbers.values())


def _with_image_ids(coco: COCO, numbers: dict[Any, int]) -> NumberedCOCO:
    """Copy the part of ``coco`` that is about the images in ``numbers``, with these as ids."""
    images, annotations = coco.dataset["images"], coco.dataset["annotations"]
    return NumberedCOCO(
        {
            "images": [{**x, "id": numbers[x["id"]]} for x in images if x["id"] in numbers],
            "annotations": [
                {**x, "image_id": numbers[x["image_id"]]}
                for x in annotations
                if x["image_id"] in numbers
            ],
            "categories": coco.dataset["categories"],
        }
    )


def _count_objects(coco: COCO, params: Any) -> np.ndarray:
    """Objects to be found, crowds left out: (categories, area ranges)."""
    rows = {category_id: row for row, category_id in enumerate(np.unique(params.catIds).tolist())}
    annotations = [
        x
        for x in coco.loadAnns(coco.getAnnIds(imgIds=params.imgIds, catIds=params.catIds))
        if not x.get("iscrowd", 0)
    ]
    low, high = np.array(params.areaRng).T
    areas = np.array([x["area"] for x in annotations])[:, None]
    counts = np.zeros((len(rows), len(params.areaRng)), dtype=np.int64)
    np.add.at(
        counts,
        np.array([rows[x["category_id"]] for x in annotations], dtype=np.int64),
        (areas >= low) & (areas <= high),
    )
    return counts

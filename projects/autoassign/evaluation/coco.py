"""COCO's box AP through faster-coco-eval."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from faster_coco_eval import COCO, COCOeval_faster

__all__ = ["METRICS", "FastCOCOEvaluator"]

#: COCO's metrics of boxes, in the order in which they are shown.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class FastCOCOEvaluator(COCOEvaluator):
    """detectron2's :class:`COCOEvaluator` for boxes, matched by faster-coco-eval.

    Results, files and log tables are those of the base class, and its numbers are those of
    pycocotools, with two exceptions that pycocotools gets wrong: where objects exist and nothing
    is detected, AP is 0 and not NaN, and ids that its compiled code cannot hold (strings,
    negative annotation ids, category ids of 2³¹ or more) count as any other.

    Args:
        dataset_name: a registered dataset. Without a ``json_file`` in its metadata, it is
            converted to COCO's format, which needs ``output_dir``.
        output_dir: where the results and the converted dataset are written.
        distributed: whether to gather the predictions of all workers.
        max_dets_per_image: COCO counts the 100 detections of an image with the highest scores.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        distributed: bool = True,
        max_dets_per_image: int = 100,
    ) -> None:
        super().__init__(
            dataset_name,
            ("bbox",),
            distributed,
            output_dir,
            max_dets_per_image=max_dets_per_image,
            use_fast_impl=False,  # detectron2's own, which needs its compiled extension
            # A file of an earlier run in the same folder may be of other data.
            allow_cached_coco=False,
        )

    @classmethod
    def metric_names(cls, dataset_name: str) -> list[str]:
        """Names of the metrics of a dataset as the event storage has them, such as "bbox/AP"."""
        classes = MetadataCatalog.get(dataset_name).get("thing_classes", ())
        per_class = [f"AP-{name}" for name in classes] if len(classes) > 1 else []
        return [f"bbox/{metric}" for metric in (*METRICS, *per_class)]

    def _eval_predictions(
        self, predictions: list[dict[str, Any]], img_ids: list | None = None
    ) -> None:
        results = list(itertools.chain.from_iterable(x["instances"] for x in predictions))
        ids = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if ids is not None:
            id_of_class = {index: category_id for category_id, index in ids.items()}
            for result in results:
                result["category_id"] = id_of_class[result["category_id"]]
        if self._output_dir:
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            self._logger.info(f"Saving results to {path}")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(results, file)
        if not self._do_evaluation:
            self._logger.info("Annotations are not available for evaluation.")
            return
        self._evaluate(results, img_ids)

    def _evaluate(self, results: list[dict[str, Any]], image_ids: list | None) -> None:
        """Fill ``self._results`` from detections in COCO's format with the dataset's ids."""
        ground_truth, detections = _numbered(self._coco_api.dataset, results, image_ids)
        coco_eval = COCOeval_faster(
            ground_truth, detections, "bbox", print_function=self._logger.info
        )
        coco_eval.params.maxDets = self._max_dets_per_image
        coco_eval.run()
        self._results["bbox"] = self._derive_coco_results(
            coco_eval, "bbox", class_names=self._metadata.get("thing_classes")
        )


def _numbered(
    dataset: dict[str, Any], results: list[dict[str, Any]], image_ids: list | None
) -> tuple[COCO, COCO]:
    """Ground truth and detections with ids 0, 1, 2, ... in the order of the dataset's ids.

    The order of images decides between equal scores, that of categories is the order of classes.

    Raises:
        ValueError: a detection's image is not in the dataset.
    """
    known = {image["id"] for image in dataset["images"]}
    for result in results:
        if result["image_id"] not in known:
            raise ValueError(f"a detection is of image {result['image_id']!r}, not in the dataset")
    if image_ids is not None:
        known &= set(image_ids)
    images = {image_id: number for number, image_id in enumerate(sorted(known))}
    categories = {
        category_id: number
        for number, category_id in enumerate(sorted(x["id"] for x in dataset["categories"]))
    }
    shared = {
        "images": [{"id": number} for number in images.values()],
        "categories": [{"id": number} for number in categories.values()],
    }

    def entries(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = (x for x in annotations if x["image_id"] in images)
        return [
            {
                "id": number,
                "image_id": images[x["image_id"]],
                "category_id": categories[x["category_id"]],
                "bbox": x["bbox"],
                "area": x["area"] if "area" in x else x["bbox"][2] * x["bbox"][3],
                "iscrowd": x.get("iscrowd", 0),
                "score": x.get("score", 1.0),
            }
            for number, x in enumerate(kept, start=1)  # 0 would mean "unmatched"
        ]

    return (
        COCO({**shared, "annotations": entries(dataset["annotations"])}),
        COCO({**shared, "annotations": entries(results)}),
    )

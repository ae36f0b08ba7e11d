"""The evaluator of a dataset, chosen by its metadata's ``evaluator_type``."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from .coco import FastCOCOEvaluator
from .voc import VOCEvaluator
from .widerface import WiderFaceEvaluator

__all__ = ["build_evaluator", "metric_names"]

_EVALUATORS = {"pascal_voc": VOCEvaluator, "widerface": WiderFaceEvaluator}


def build_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> FastCOCOEvaluator:
    """The evaluator of a registered dataset: COCO's metrics, and the dataset's own beside them.

    Args:
        cfg: with a ``TEST.DETECTIONS_PER_IMAGE`` above COCO's limit of 100, all of them count.
        dataset_name: a registered dataset.
        output_dir: where the evaluator writes its results.
    """
    return _evaluator_class(dataset_name)(
        dataset_name, output_dir, max_dets_per_image=max(100, cfg.TEST.DETECTIONS_PER_IMAGE)
    )


def metric_names(dataset_name: str) -> list[str]:
    """Names of the metrics that evaluating a dataset gives, such as "bbox/AP" or "voc07/AP50"."""
    return _evaluator_class(dataset_name).metric_names(dataset_name)


def _evaluator_class(dataset_name: str) -> type[FastCOCOEvaluator]:
    evaluator_type = MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")
    return _EVALUATORS.get(evaluator_type, FastCOCOEvaluator)

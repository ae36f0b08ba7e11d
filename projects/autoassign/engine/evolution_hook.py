"""A hook that records how a few objects are assigned during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from ..data import has_objects, map_record
from ..modeling import ImageExplanation, PointDetector, explain_image
from ..runs import evolution_folder, save_iteration, start_evolution

__all__ = ["EvolutionRecorder", "check_evolution_options"]


def check_evolution_options(cfg: CfgNode, model: nn.Module) -> None:
    """
    Args:
        cfg: the config; ``TEST.EVOLUTION`` is read.
        model: the model in training, without a DistributedDataParallel around it.

    Raises:
        ValueError: ``TEST.EVOLUTION`` is enabled, and there is no test dataset, or the model is no
            PointDetector.
    """
    if not cfg.TEST.EVOLUTION.ENABLED:
        return
    if not cfg.DATASETS.TEST:
        raise ValueError("TEST.EVOLUTION.ENABLED: DATASETS.TEST names no dataset to look at")
    if not isinstance(model, PointDetector):
        raise ValueError(
            f"TEST.EVOLUTION.ENABLED: a {cfg.MODEL.META_ARCHITECTURE} does not explain its "
            "label assignment, only a PointDetector does"
        )


class EvolutionRecorder(HookBase):
    """Records the weight maps of a few objects before training and periodically during it.

    The objects are the largest of each of the first images of the first test dataset. Their maps
    go to ``OUTPUT_DIR/evolution``, which ``autoassign visualize evolution`` draws. The model in
    training is looked at, not its average. Training is not changed. A training that is resumed
    keeps the same objects; one from the start replaces what is there.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        """See :func:`check_evolution_options`, also for what is raised."""
        check_evolution_options(cfg, model)
        self._cfg = cfg
        self._model = cast(PointDetector, model)  # checked
        self._folder = evolution_folder(cfg.OUTPUT_DIR)
        self._inputs: list[tuple[dict[str, Any], int]] = []  # with the index of the object

    def before_train(self) -> None:
        if not comm.is_main_process():
            return
        self._inputs = self._choose_inputs()
        explanations = self._explain()
        names = self._names(explanations)
        start_evolution(self._folder, explanations, names, self.trainer.start_iter)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        is_due = done % self._cfg.TEST.EVOLUTION.PERIOD == 0 or done == self.trainer.max_iter
        if is_due and comm.is_main_process():
            save_iteration(self._folder, done, self._explain())

    def _choose_inputs(self) -> list[tuple[dict[str, Any], int]]:
        dataset = self._cfg.DATASETS.TEST[0]
        records = [record for record in DatasetCatalog.get(dataset) if has_objects(record)]
        if not records:
            raise ValueError(f"TEST.EVOLUTION.ENABLED: no image of {dataset} has an object")
        inputs = [
            map_record(self._cfg, record)
            for record in records[: self._cfg.TEST.EVOLUTION.NUM_OBJECTS]
        ]
        return [(item, int(item["instances"].gt_boxes.area().argmax())) for item in inputs]

    def _explain(self) -> list[ImageExplanation]:
        input_format = self._cfg.INPUT.FORMAT
        return [
            explain_image(self._model, item, objects=[index], input_format=input_format)
            for item, index in self._inputs
        ]

    def _names(self, explanations: list[ImageExplanation]) -> list[str]:
        classes = MetadataCatalog.get(self._cfg.DATASETS.TEST[0]).thing_classes
        return [
            f"{Path(item['file_name']).stem}, object {index} "
            f"({classes[explanation.objects[0].class_index]})"
            for (item, index), explanation in zip(self._inputs, explanations, strict=True)
        ]

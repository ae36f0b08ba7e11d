"""Hooks that detectron2 lacks: averaged weights, a best checkpoint that survives resuming."""

from __future__ import annotations

import json
import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..evaluation import metric_names

__all__ = ["AveragedWeights", "BestCheckpointer", "best_metric", "check_average_options"]


class AveragedWeights(HookBase):
    """Exponential moving average of a model's weights and buffers.

    The trainer's checkpointer reads and writes the averaged model, so that the weights in a
    checkpoint are those that were evaluated; the weights in training travel in this hook's state.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: the model in training, without a DistributedDataParallel around it.
            decay: share of the average that is kept in each iteration, between 0 and 1.
        """
        self._model = model
        self._average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )

    @property
    def averaged_model(self) -> nn.Module:
        """The model whose weights are the average."""
        return self._average.module

    def before_train(self) -> None:
        # Initial weights were loaded into the average, which is what the checkpointer knows.
        if self._average.n_averaged == 0:
            self._model.load_state_dict(self.averaged_model.state_dict())

    def after_step(self) -> None:
        self._average.update_parameters(self._model)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self._model.state_dict(), "n_averaged": self._average.n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._model.load_state_dict(state_dict["model"])
        self._average.n_averaged.copy_(state_dict["n_averaged"])


class BestCheckpointer(hooks.BestCheckpointer):
    """detectron2's, which in a resumed training knows the best value of the training before."""

    def before_train(self) -> None:
        path = os.path.join(self.trainer.cfg.OUTPUT_DIR, "metrics.json")
        if self.trainer.start_iter == 0 or not os.path.exists(path):
            return
        with open(path) as file:
            rows = [json.loads(line) for line in file if line.endswith("}\n")]  # none half-written
        # Also rows after the checkpoint that training resumes from: model_best.pth holds the best
        # of them all.
        for row in rows:
            value = row.get(self._val_metric)
            if value is not None and (self.best_metric is None or value > self.best_metric):
                self._update_best(value, row["iteration"])


def check_average_options(cfg: CfgNode) -> None:
    """
    Raises:
        ValueError: ``MODEL.EMA`` is enabled, and its decay is not between 0 and 1, or
            ``TEST.PRECISE_BN`` is enabled too.
    """
    if not cfg.MODEL.EMA.ENABLED:
        return
    if not 0 < cfg.MODEL.EMA.DECAY < 1:
        raise ValueError(f"MODEL.EMA.DECAY is {cfg.MODEL.EMA.DECAY}; it lies between 0 and 1")
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise ValueError(
            "TEST.PRECISE_BN.ENABLED and MODEL.EMA.ENABLED exclude each other: the average "
            "has statistics of its own"
        )


def best_metric(cfg: CfgNode) -> str:
    """Name of ``TEST.BEST_METRIC`` in the event storage, of the first of several datasets.

    Raises:
        ValueError: the evaluation gives no such metric.
    """
    metrics = metric_names(cfg.DATASETS.TEST[0])
    if cfg.TEST.BEST_METRIC not in metrics:
        raise ValueError(
            f"TEST.BEST_METRIC is '{cfg.TEST.BEST_METRIC}'; it may be one of: {', '.join(metrics)}"
        )
    if len(cfg.DATASETS.TEST) == 1:
        return cfg.TEST.BEST_METRIC
    return f"{cfg.DATASETS.TEST[0]}/{cfg.TEST.BEST_METRIC}"

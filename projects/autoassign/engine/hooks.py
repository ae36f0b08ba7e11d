"""Hooks that detectron2 lacks: averaged weights, evaluation and best checkpoint across resuming."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from detectron2.utils.events import EventWriter, JSONWriter
from fvcore.common.checkpoint import Checkpointer
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..checkpoint import peek
from ..evaluation import metric_names
from ..runs import read_metrics
from .train_step import FiniteTrainer

__all__ = [
    "AveragedWeights",
    "BestCheckpointer",
    "EvalHook",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "best_metric",
    "check_average_options",
]

logger = logging.getLogger(__name__)


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


class PeriodicCheckpointer(HookBase):
    """Writes model_0000999.pth, ... every so many iterations, and model_final.pth after the last.

    Nothing is written while steps fail, because the reason may be in the weights: a checkpoint that
    is due then is written after the next good step. detectron2's hook cannot wait, and removes no
    checkpoint from before the training was resumed.
    """

    def __init__(
        self, checkpointer: Checkpointer, period: int, step: FiniteTrainer, num_kept: int = 0
    ) -> None:
        """
        Args:
            checkpointer: writes the checkpoints.
            period: iterations from one checkpoint to the next.
            step: knows whether the last step has failed.
            num_kept: how many checkpoints stay, apart from the final and the best one; 0: all.
        """
        self._checkpointer = checkpointer
        self._period = period
        self._step = step
        self._num_kept = num_kept
        self._is_due = False
        self._saved_iteration = -1
        self._is_final_saved = False

    def after_step(self) -> None:
        iteration = self.trainer.iter
        is_last = iteration == self.trainer.max_iter - 1
        self._is_due |= (iteration + 1) % self._period == 0
        # After the last step the weights are still finite, so that the training can end.
        if self._is_due and (is_last or not self._step.has_failed):
            self.save(iteration)
            self._remove_old(iteration)
        if is_last:
            self._save_final()

    def after_train(self) -> None:
        # A training that was killed before model_final.pth resumes with no step left to do.
        if self.trainer.iter >= self.trainer.max_iter and not self._is_final_saved:
            self._save_final()

    def _save_final(self) -> None:
        self._checkpointer.save("model_final", iteration=self.trainer.max_iter - 1)
        self._is_final_saved = True

    def save(self, iteration: int) -> None:
        """Write the checkpoint of this iteration, unless that is done."""
        self._is_due = False
        if iteration != self._saved_iteration:
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            self._saved_iteration = iteration

    def _remove_old(self, iteration: int) -> None:
        if not self._num_kept:
            return
        # A training that was resumed from an earlier checkpoint leaves later ones behind: they are
        # the first to go.
        files = Path(self._checkpointer.save_dir).glob(f"model_{'[0-9]' * 7}.pth")
        numbers = {path: int(path.stem.removeprefix("model_")) for path in files}
        oldest_first = sorted(numbers, key=lambda x: (numbers[x] <= iteration, numbers[x]))
        for path in oldest_first[: -self._num_kept]:
            path.unlink()


class EvalHook(hooks.EvalHook):
    """detectron2's, which also makes up for an evaluation that an interruption has prevented.

    After training it only evaluates if that has ended normally.
    """

    def __init__(self, eval_period: int, eval_function: Callable[[], Any], metric: str) -> None:
        """
        Args:
            eval_period: see :class:`detectron2.engine.hooks.EvalHook`.
            eval_function: see there.
            metric: a name in metrics.json that every evaluation leaves.
        """
        super().__init__(eval_period, eval_function)
        self._metric = metric

    def before_train(self) -> None:
        done = self.trainer.start_iter
        was_due = 0 < done < self.trainer.max_iter and self._period > 0 and not done % self._period
        if was_due and not self.has_evaluated(done - 1):
            self.trainer.storage.iter = done - 1
            self._do_eval()

    def after_train(self) -> None:
        # detectron2's takes a failure in the last iteration for the end.
        self._eval_after_train = self.trainer.iter >= self.trainer.max_iter
        super().after_train()

    def has_evaluated(self, iteration: int) -> bool:
        """Whether metrics.json has an evaluation of this iteration or a later one."""
        rows = _read_rows(self.trainer.cfg.OUTPUT_DIR)
        return any(self._metric in row and row["iteration"] >= iteration for row in rows)


class BestCheckpointer(HookBase):
    """Keeps the weights of the best evaluation in model_best.pth, with the value they reached.

    It comes after :class:`EvalHook`. The first evaluation is the best one so far, also if its value
    is NaN, as for a class that no test image has. A resumed training reads the best value from the
    file, so that it is known after any interruption; detectron2's hook forgets it.
    """

    NAME = "model_best"

    def __init__(self, eval_period: int, checkpointer: Checkpointer, metric: str) -> None:
        """
        Args:
            eval_period: that of the evaluation.
            checkpointer: writes the weights.
            metric: its name in the event storage; greater is better.
        """
        self._period = eval_period
        self._checkpointer = checkpointer
        self._metric = metric
        self._best: float | None = None
        self._checked_iteration = -1

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            self._best = self._saved_value()
            self._check()  # an evaluation that EvalHook has made up for

    def after_step(self) -> None:
        if self._period > 0 and (self.trainer.iter + 1) % self._period == 0:
            self._check()

    def after_train(self) -> None:
        self._check()

    def _check(self) -> None:
        value, iteration = self.trainer.storage.latest().get(self._metric, (math.nan, -1))
        if iteration <= self._checked_iteration:
            return
        self._checked_iteration = iteration
        if math.isnan(value):
            value = -math.inf
        if self._best is None or value > self._best:
            self._best = value
            best = {"metric": self._metric, "value": value}
            self._checkpointer.save(self.NAME, iteration=iteration, best=best)
            logger.info(f"{self._metric} is the best so far: {self.NAME}.pth has these weights")

    def _saved_value(self) -> float | None:
        folder = self.trainer.cfg.OUTPUT_DIR
        content = peek(os.path.join(folder, f"{self.NAME}.pth"))
        if content is None:
            return None
        if "best" in content:
            best = content["best"]
            return best["value"] if best["metric"] == self._metric else None
        # Version 0.1 did not keep the value with the weights.
        values = [row[self._metric] for row in _read_rows(folder) if self._metric in row]
        return max((value for value in values if not math.isnan(value)), default=None)


def _read_rows(output_dir: str) -> list[dict[str, float]]:
    path = os.path.join(output_dir, "metrics.json")
    return read_metrics(path).rows if os.path.exists(path) else []


class PeriodicWriter(hooks.PeriodicWriter):
    """detectron2's, which also writes an evaluation at once, before a kill can lose it."""

    def __init__(self, writers: list[EventWriter], eval_period: int) -> None:
        """
        Args:
            writers: what is written to.
            eval_period: that of the evaluation.
        """
        super().__init__(writers)
        self._eval_period = eval_period

    def after_step(self) -> None:
        super().after_step()
        if self._eval_period > 0 and (self.trainer.iter + 1) % self._eval_period == 0:
            for writer in self._writers:
                if isinstance(writer, JSONWriter):  # it writes nothing twice
                    writer.write()


def check_average_options(cfg: CfgNode) -> None:
    """
    Raises:
        ValueError: ``MODEL.EMA.ENABLED`` and ``TEST.PRECISE_BN.ENABLED`` are set.
    """
    if cfg.MODEL.EMA.ENABLED and cfg.TEST.PRECISE_BN.ENABLED:
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

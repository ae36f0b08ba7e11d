"""detectron2's DefaultTrainer with this project's data, evaluation, optimizers and hooks."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any
from unittest import mock

import detectron2.utils.comm as comm
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..checkpoint import PointCheckpointer, Strictness
from ..data import CheckedDatasetMapper
from ..evaluation import build_evaluator
from ..runs import evaluation_folder
from .evolution_hook import EvolutionRecorder
from .hooks import AveragedWeights, BestCheckpointer, best_metric, check_average_options
from .optimizer import build_optimizer

__all__ = ["Trainer"]


class Trainer(DefaultTrainer):
    """Trains and evaluates a detector as the config says."""

    def __init__(self, cfg: CfgNode) -> None:
        """
        Raises:
            ValueError: an option has a value that is not allowed.
        """
        if cfg.MODEL.DEVICE == "cpu":
            # DefaultTrainer names a GPU for DistributedDataParallel, which refuses it on CPUs.
            on_cpu = partial(create_ddp_model, device_ids=None)
            with mock.patch("detectron2.engine.defaults.create_ddp_model", on_cpu):
                super().__init__(cfg)
        else:
            super().__init__(cfg)
        self.model.register_forward_hook(self._stop_at_non_finite_loss)

    def build_hooks(self) -> list[HookBase]:
        """detectron2's hooks, the average of the weights, and the best checkpoint."""
        cfg = self.cfg
        check_average_options(cfg)
        save = partial(
            PointCheckpointer,
            save_dir=cfg.OUTPUT_DIR,
            strictness=Strictness.FINE_TUNING_OTHER_CLASSES
            if cfg.MODEL.WEIGHTS_SKIP_MISMATCHED
            else Strictness.TRAINING,
            trainer=weakref.proxy(self),
        )
        self.checkpointer = save(self.model)
        if not cfg.MODEL.EMA.ENABLED:
            return self._with_own_hooks(super().build_hooks())
        model = self.model.module if comm.get_world_size() > 1 else self.model
        average = AveragedWeights(model, cfg.MODEL.EMA.DECAY)
        self.checkpointer = save(average.averaged_model)
        # Before the hooks that write and evaluate.
        return [average, *self._with_own_hooks(super().build_hooks(), average)]

    def _with_own_hooks(
        self, built: list[HookBase | None], average: AveragedWeights | None = None
    ) -> list[HookBase]:
        """The hooks with evaluation of the averaged weights and, after it, the best checkpoint.

        Where it is wanted, also the hook that keeps how objects are assigned.
        """
        cfg = self.cfg
        result: list[HookBase] = []
        for hook in built:
            if hook is None:
                continue
            if isinstance(hook, hooks.EvalHook):
                result.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, partial(self._test, average)))
                if cfg.DATASETS.TEST and comm.is_main_process():
                    result.append(
                        BestCheckpointer(cfg.TEST.EVAL_PERIOD, self.checkpointer, best_metric(cfg))
                    )
            else:
                result.append(hook)
        if cfg.TEST.EVOLUTION.ENABLED:
            model = self.model.module if comm.get_world_size() > 1 else self.model
            result.append(EvolutionRecorder(cfg, model))
        return result

    def _test(self, average: AveragedWeights | None) -> dict[str, Any]:
        model = self.model if average is None else average.averaged_model
        self._last_eval_results = self.test(self.cfg, model)
        return self._last_eval_results

    def _stop_at_non_finite_loss(
        self, model: nn.Module, args: tuple[Any, ...], losses: dict[str, Tensor]
    ) -> None:
        if not model.training:
            return
        values = {name: value.detach() for name, value in losses.items()}
        if torch.stack(list(values.values())).isfinite().all():
            return
        listing = ", ".join(f"{name} {value.item()}" for name, value in values.items())
        files = ", ".join(str(x.get("file_name")) for x in args[0])
        kept = (
            f"The last checkpoint is {self.checkpointer.get_checkpoint_file()}."
            if self.checkpointer.has_checkpoint()
            else "No checkpoint has been written yet."
        )
        raise FloatingPointError(
            f"Non-finite loss at iteration {get_event_storage().iter}: {listing}. "
            f"Images: {files}. {kept}"
        )

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """See :func:`autoassign.engine.optimizer.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
        """detectron2's loader with :class:`CheckedDatasetMapper`."""
        return build_detection_train_loader(cfg, mapper=CheckedDatasetMapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        """detectron2's loader with :class:`CheckedDatasetMapper`."""
        return build_detection_test_loader(
            cfg, dataset_name, mapper=CheckedDatasetMapper(cfg, is_train=False)
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """See :func:`autoassign.evaluation.build_evaluator`."""
        folder = evaluation_folder(cfg.OUTPUT_DIR, cfg.DATASETS.TEST, dataset_name)
        return build_evaluator(cfg, dataset_name, str(folder))

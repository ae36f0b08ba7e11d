"""detectron2's DefaultTrainer with this project's data, evaluation, optimizers and hooks."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import weakref
from pathlib import Path
from typing import Any, NoReturn

import detectron2.utils.comm as comm
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, create_ddp_model, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.events import EventWriter
from detectron2.utils.logger import setup_logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ..checkpoint import PointCheckpointer, Strictness, find_checkpoint
from ..config import check_values, fit_to_machine, replacing
from ..data import (
    IMAGE_CACHE,
    CheckedDatasetMapper,
    NotingMapper,
    TrainingBatches,
    build_train_loader,
    build_train_mapper,
    derive_seed,
    naming_lost_file,
)
from ..evaluation import build_evaluator
from ..runs import evaluation_folder, explaining_build_errors, repair_metrics
from .console import ProgressReport, printing_to_log, show_evaluation
from .evolution_hook import EvolutionRecorder
from .hooks import (
    AveragedWeights,
    BestCheckpointer,
    EvalHook,
    PeriodicCheckpointer,
    PeriodicWriter,
    best_metric,
    check_average_options,
)
from .optimizer import build_optimizer
from .output_dir import prepare_output_dir
from .resuming import check_resumable, describe
from .schedule import build_lr_scheduler
from .stop_signals import StopSignals, TrainingStopped
from .train_step import FiniteTrainer, build_train_step

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains and evaluates a detector as the config says.

    What an iteration reads and draws depends on ``SEED`` and the number of the iteration only: a
    training that is interrupted and resumed ends with the weights of one that is not. A negative
    ``SEED`` becomes a random one when training starts.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Raises:
            ValueError: an option has a value that is not allowed.
        """
        # In place of DefaultTrainer's, whose DistributedDataParallel does not run on CPUs.
        TrainerBase.__init__(self)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        check_values(cfg)
        cfg = cfg.clone()
        cfg.defrost()
        for message in fit_to_machine(cfg):
            logger.warning(message)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        if cfg.SEED < 0:
            cfg = _with_options(cfg, "SEED", comm.shared_random_seed())
        check_average_options(cfg)
        self.cfg = cfg
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER

        self._model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, self._model)
        data_loader = self.build_train_loader(cfg)
        # On a CPU, DistributedDataParallel takes no device ids.
        device_ids = None if cfg.MODEL.DEVICE == "cpu" else [comm.get_local_rank()]
        model = create_ddp_model(
            self._model,
            broadcast_buffers=False,
            device_ids=device_ids,
            gradient_as_bucket_view=True,  # gradients are stored once
        )
        self._average = None
        if cfg.MODEL.EMA.ENABLED:  # a copy of the weights that all workers begin with
            self._average = AveragedWeights(self._model, cfg.MODEL.EMA.DECAY)
        self._trainer: FiniteTrainer = build_train_step(cfg, model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = PointCheckpointer(
            self._evaluated_model,
            cfg.OUTPUT_DIR,
            strictness=Strictness.FINE_TUNING_OTHER_CLASSES
            if cfg.MODEL.WEIGHTS_SKIP_MISMATCHED
            else Strictness.TRAINING,
            description=describe(cfg),
            trainer=weakref.proxy(self),
        )
        self._signals = StopSignals(self._trainer.request_stop)
        self.register_hooks(self.build_hooks())

    @property
    def _evaluated_model(self) -> nn.Module:
        """What is evaluated and written as the "model" of a checkpoint."""
        return self._model if self._average is None else self._average.averaged_model

    def build_hooks(self) -> list[HookBase]:
        """Hooks for schedule, checkpoints, evaluation and metrics, in the order they run."""
        cfg = self.cfg
        is_main = comm.is_main_process()
        # The average comes before the hooks that evaluate and write it.
        result: list[HookBase] = [] if self._average is None else [self._average]
        result += [hooks.IterationTimer(), hooks.LRScheduler()]
        if is_main:
            result.append(ProgressReport())
        if cfg.TEST.PRECISE_BN.ENABLED:
            loader = self.build_train_loader(_with_options(cfg, "DATALOADER.NUM_WORKERS", 0))
            options = (cfg.TEST.EVAL_PERIOD, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)
            result.append(hooks.PreciseBN(*options))
        period, num_kept = cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINTS_KEPT
        self._checkpoint_hook = PeriodicCheckpointer(
            self.checkpointer, period, self._trainer, num_kept
        )
        if is_main:
            result.append(self._checkpoint_hook)
        if cfg.DATASETS.TEST:
            period, metric = cfg.TEST.EVAL_PERIOD, best_metric(cfg)
            self._eval_hook = EvalHook(period, self._evaluate, metric)
            result.append(self._eval_hook)
            if is_main:
                result.append(BestCheckpointer(period, self.checkpointer, metric))
        if cfg.TEST.EVOLUTION.ENABLED:
            result.append(EvolutionRecorder(cfg, self._model))
        if is_main:
            result.append(PeriodicWriter(self.build_writers(), cfg.TEST.EVAL_PERIOD))
        return result

    def build_writers(self) -> list[EventWriter]:
        """detectron2's, whose metrics.json begins on a new line."""
        repair_metrics(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"))
        return super().build_writers()

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint of ``OUTPUT_DIR``, or load ``MODEL.WEIGHTS``.

        ``OUTPUT_DIR`` is this process's until it ends.

        Args:
            resume: whether to resume if there is a checkpoint; see
                :func:`~autoassign.checkpoint.find_checkpoint`.

        Raises:
            ValueError: the checkpoint is that of another model, optimizer or classes.
            FileExistsError: ``OUTPUT_DIR`` holds a training, and ``resume`` is False.
            OSError: another training is running in ``OUTPUT_DIR``, or it cannot be written to.
        """
        prepare_output_dir(self.cfg.OUTPUT_DIR, resume=resume)
        checkpoint = find_checkpoint(self.cfg.OUTPUT_DIR) if resume else None
        if checkpoint is None:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
            return
        check_resumable(self.cfg, self._evaluated_model, checkpoint)
        self.checkpointer.load(checkpoint)
        self.start_iter = self.iter + 1
        logger.info(f"Resuming from {checkpoint}, after {self.start_iter} iterations")

    def train(self) -> dict[str, Any] | None:
        """Train until ``SOLVER.MAX_ITER``; config.yaml is written when that starts.

        Returns:
            See :class:`detectron2.engine.DefaultTrainer`.

        Raises:
            TrainingStopped: after SIGINT or SIGTERM; the checkpoint is written, unless the last
                step has failed.
            FloatingPointError: losses, gradients or weights are not finite.
            OSError: a file cannot be written.
            ChildProcessError: a loading process has died; the file that it worked on is named.
        """
        if self._is_finished():
            logger.info(
                f"The training in {self.cfg.OUTPUT_DIR} is finished: {self.start_iter} iterations "
                f"are done, and SOLVER.MAX_ITER is {self.max_iter}."
            )
            return None
        if comm.is_main_process():
            with replacing(Path(self.cfg.OUTPUT_DIR, "config.yaml")) as file:
                file.write_text(self.cfg.dump(), encoding="utf-8")
        self._announce()
        batches = getattr(self.data_loader, "batch_sampler", None)
        if isinstance(batches, TrainingBatches):
            batches.start_iter = self.start_iter
        try:
            with naming_lost_file(), self._signals:
                results = super().train()
        except (FloatingPointError, OSError) as error:
            raise type(error)(f"{error}. {self._last_checkpoint()}") from error
        shutil.rmtree(Path(self.cfg.OUTPUT_DIR, IMAGE_CACHE), ignore_errors=True)
        return results

    def _announce(self) -> None:
        cfg = self.cfg
        name = cfg.MODEL.META_ARCHITECTURE
        if name == "PointDetector":
            name = cfg.MODEL.LABEL_ASSIGNMENT.NAME
        parameters = sum(x.numel() for x in self._model.parameters()) / 1e6
        logger.info(
            f"{name}, {parameters:.1f} M parameters, {cfg.MODEL.DEVICE}, {cfg.SOLVER.OPTIMIZER}, "
            f"{cfg.SOLVER.IMS_PER_BATCH} images a batch; config, environment and model: "
            f"{os.path.join(cfg.OUTPUT_DIR, 'log.txt')}"
        )

    def _is_finished(self) -> bool:
        if self.start_iter < self.max_iter:
            return False
        return not self.cfg.DATASETS.TEST or self._eval_hook.has_evaluated(self.max_iter)

    def _last_checkpoint(self) -> str:
        if not self.checkpointer.has_checkpoint():
            return "No checkpoint has been written yet."
        return f"The last checkpoint is {self.checkpointer.get_checkpoint_file()}."

    def run_step(self) -> None:
        # Random numbers need not be stored in checkpoints, nor those of every worker.
        self._trainer.next_seed = derive_seed(self.cfg.SEED, comm.get_rank(), self.iter, 2)
        super().run_step()

    def after_step(self) -> None:
        super().after_step()
        if self._trainer.should_stop:
            self._save_before_stop(self.iter)
            comm.synchronize()  # a worker that ends makes launchers end the others
            self._stop(self.iter)

    def after_train(self) -> None:
        # detectron2 counts one more where only the evaluation was left to do.
        self.iter: int = min(self.iter, self.max_iter)
        super().after_train()

    def state_dict(self) -> dict[str, Any]:
        # After the last iteration, detectron2 counts one more.
        return {**super().state_dict(), "iteration": min(self.iter, self.max_iter - 1)}

    def _evaluate(self) -> dict[str, Any]:
        try:
            with self._signals.raising():
                results = self.test(self.cfg, self._evaluated_model)
        # A loading process that the signal ended is a RuntimeError.
        except (KeyboardInterrupt, RuntimeError):
            if self._signals.received is None:
                raise
            self._save_before_stop(self.storage.iter)
            self._stop(self.storage.iter)
        self._last_eval_results = results
        if comm.is_main_process():
            show_evaluation(min(self.storage.iter + 1, self.max_iter), results)
        return results

    def _save_before_stop(self, iteration: int) -> None:
        if self._has_own_checkpoint(iteration) and not self._trainer.has_failed:
            self._checkpoint_hook.save(iteration)

    def _has_own_checkpoint(self, iteration: int) -> bool:
        """Whether it is neither the checkpoint resumed from nor the final one."""
        return self.start_iter <= iteration < self.max_iter - 1

    def _stop(self, iteration: int) -> NoReturn:
        """End the training after this iteration, whose checkpoint is written."""
        number = self._signals.received or signal.SIGTERM
        message = (
            f"Stopped by {signal.Signals(number).name} after "
            f"{min(iteration + 1, self.max_iter)} of {self.max_iter} iterations. "
        )
        if self._has_own_checkpoint(iteration) and self._trainer.has_failed:
            message += "No checkpoint is written after a failed step. "
        raise TrainingStopped(message + self._last_checkpoint(), number)

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: list[DatasetEvaluator] | None = None
    ) -> dict[str, Any]:
        """See :meth:`detectron2.engine.DefaultTrainer.test`; nothing is printed.

        Raises:
            ChildProcessError: a loading process has died; the file that it worked on is named.
        """
        with naming_lost_file(), printing_to_log():
            return super().test(cfg, model, evaluators)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """See :meth:`detectron2.engine.DefaultTrainer.build_model`.

        Raises:
            ValueError: the options do not make a model.
        """
        with explaining_build_errors():
            if cfg.TEST.PRECISION != "float32" and cfg.MODEL.META_ARCHITECTURE != "PointDetector":
                raise ValueError(
                    f"TEST.PRECISION is {cfg.TEST.PRECISION!r}; MODEL.META_ARCHITECTURE "
                    f"{cfg.MODEL.META_ARCHITECTURE} is evaluated in 'float32' only"
                )
            model = super().build_model(cfg)
        if cfg.MODEL.CHANNELS_LAST:  # detectron2's detectors know nothing of it
            model.to(memory_format=torch.channels_last)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """See :func:`autoassign.engine.optimizer.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
        """See :func:`autoassign.engine.schedule.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
        """See :func:`autoassign.data.build_train_loader`."""
        return build_train_loader(cfg, mapper=build_train_mapper(cfg))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        """detectron2's loader with :class:`CheckedDatasetMapper`."""
        mapper = CheckedDatasetMapper(cfg, is_train=False)
        return build_detection_test_loader(
            cfg, dataset_name, mapper=NotingMapper(mapper, cfg.DATALOADER.NUM_WORKERS)
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """See :func:`autoassign.evaluation.build_evaluator`."""
        folder = evaluation_folder(cfg.OUTPUT_DIR, cfg.DATASETS.TEST, dataset_name)
        return build_evaluator(cfg, dataset_name, str(folder))


def _with_options(cfg: CfgNode, *options: Any) -> CfgNode:
    result = cfg.clone()
    result.defrost()
    result.merge_from_list(list(options))
    result.freeze()
    return result

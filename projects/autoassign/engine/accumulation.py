"""Gradient accumulation: the batch of an iteration in parts, one after the other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import detectron2.utils.comm as comm
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from .train_step import FiniteAMPTrainer, FiniteTrainer

__all__ = ["AccumulatingAMPTrainer", "AccumulatingTrainer", "build_train_step"]


def build_train_step(
    cfg: CfgNode, model: nn.Module, data_loader: Iterable[Any], optimizer: Optimizer
) -> FiniteTrainer:
    """What runs an iteration, with mixed precision and accumulation as the config says.

    Raises:
        ValueError: ``SOLVER.ACCUMULATE_STEPS`` does not divide the images of each worker.
    """
    solver = cfg.SOLVER
    steps, num_workers = solver.ACCUMULATE_STEPS, comm.get_world_size()
    options: dict[str, Any] = {}
    if solver.AMP.ENABLED:
        options["precision"] = getattr(torch, solver.AMP.DTYPE)
    if steps == 1:
        make_trainer = FiniteAMPTrainer if solver.AMP.ENABLED else FiniteTrainer
        return make_trainer(model, data_loader, optimizer, **options)
    images = solver.IMS_PER_BATCH // num_workers
    if images % steps:
        raise ValueError(
            f"SOLVER.ACCUMULATE_STEPS is {steps}; it must divide the {images} images that each of "
            f"{num_workers} workers gets of SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH}"
        )
    make_accumulating = AccumulatingAMPTrainer if solver.AMP.ENABLED else AccumulatingTrainer
    return make_accumulating(model, data_loader, optimizer, accumulate_steps=steps, **options)


class AccumulatingTrainer(FiniteTrainer):
    """A :class:`FiniteTrainer` that needs the memory of a part of its batch.

    Losses and gradients are means over the parts. As with several workers, each part is
    normalised by its own objects.
    """

    def __init__(self, *args: Any, accumulate_steps: int, **kwargs: Any) -> None:
        """
        Args:
            args: see :class:`detectron2.engine.SimpleTrainer`.
            accumulate_steps: number of parts; it divides the images of this worker.
            kwargs: see :class:`detectron2.engine.SimpleTrainer`.
        """
        super().__init__(*args, **kwargs)
        self.accumulate_steps = accumulate_steps

    def run_step(self) -> None:
        """One update from all parts of the next batch."""
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        size = len(batch) // self.accumulate_steps
        parts = [batch[i : i + size] for i in range(0, len(batch), size)]
        losses = [self._backward(part, is_last=part is parts[-1]) for part in parts]
        means = {name: torch.stack([x[name] for x in losses]).mean() for name in losses[0]}
        self._file_names = [str(x.get("file_name")) for x in batch]
        self.after_backward()
        self._write_metrics(means, data_time)
        self._update()

    def _backward(self, part: Sequence[dict[str, Any]], *, is_last: bool) -> dict[str, Tensor]:
        """Add the gradients of a part; its losses, without gradients."""
        model = self.model
        no_sync: contextlib.AbstractContextManager = contextlib.nullcontext()
        if isinstance(model, DistributedDataParallel) and not is_last:
            no_sync = model.no_sync()  # the workers' gradients are added up once
        with no_sync:
            with self._autocast():
                losses = model(part)
            self._scaled(sum(losses.values()) / self.accumulate_steps).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _autocast(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss

    def _update(self) -> None:
        self.optimizer.step()


class AccumulatingAMPTrainer(AccumulatingTrainer, FiniteAMPTrainer):
    """:class:`AccumulatingTrainer` with mixed precision."""

    def _autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast("cuda", dtype=self.precision)

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.grad_scaler.scale(loss)

    def _update(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

"""The training step: mixed precision, batches in parts, no updates that are not finite."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..checkpoint import nonfinite_tensors

__all__ = ["MAX_FAILED_STEPS", "FiniteTrainer", "build_train_step"]

logger = logging.getLogger(__name__)

# Training stops after so many failed steps in a row.
MAX_FAILED_STEPS = 3


def build_train_step(
    cfg: CfgNode, model: nn.Module, data_loader: Iterable[Any], optimizer: Optimizer
) -> FiniteTrainer:
    """The training step, with mixed precision and accumulation as the config says.

    Raises:
        ValueError: ``SOLVER.ACCUMULATE_STEPS`` does not divide the images of each worker.
    """
    solver = cfg.SOLVER
    steps, num_workers = solver.ACCUMULATE_STEPS, comm.get_world_size()
    images = solver.IMS_PER_BATCH // num_workers
    if images % steps:
        raise ValueError(
            f"SOLVER.ACCUMULATE_STEPS is {steps}; it must divide the {images} images that each of "
            f"{num_workers} workers gets of SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH}"
        )
    return FiniteTrainer(
        model,
        data_loader,
        optimizer,
        precision=getattr(torch, solver.AMP.DTYPE) if solver.AMP.ENABLED else torch.float32,
        accumulate_steps=steps,
    )


class FiniteTrainer(SimpleTrainer):
    """A :class:`SimpleTrainer` that skips the update of a step with a non-finite loss or gradient.

    Training stops with a FloatingPointError when skipping does not help: after
    :data:`MAX_FAILED_STEPS` such steps in a row, or when the model itself has become non-finite, as
    batch normalization does after non-finite activations.

    The workers also agree in every step on whether one of them has been asked to stop.

    With ``accumulate_steps``, an iteration needs the memory of a part of its batch. Losses and
    gradients are means over the parts. As with several workers, each part is normalized by its own
    objects.

    Attributes:
        next_seed: of the random numbers that the model draws in the next step; None: they are not
            seeded. It counts once, after the batch is loaded, which may draw from the same
            generators.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: Optimizer,
        *,
        precision: torch.dtype = torch.float32,
        accumulate_steps: int = 1,
    ) -> None:
        """
        Args:
            model: maps a batch, a list of images, to named losses.
            data_loader: gives the batches.
            optimizer: of the model's parameters.
            precision: of the convolutions: float32, float16, whose losses are scaled, or bfloat16,
                which has the range of float32.
            accumulate_steps: number of parts of a batch; it divides the images of this worker.
        """
        super().__init__(model, data_loader, optimizer)
        self.precision = precision
        self.accumulate_steps = accumulate_steps
        self._device_type = next(model.parameters()).device.type
        self.grad_scaler = torch.amp.GradScaler(
            self._device_type, enabled=precision == torch.float16
        )
        self._stop_requested = False
        self._stop_agreed = False
        self._num_failed_steps = 0
        self._file_names: list[str] = []
        self.next_seed: int | None = None
        self.model.register_forward_pre_hook(self._before_forward, prepend=True)

    def run_step(self) -> None:
        """One update from the next batch."""
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
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _backward(self, part: Sequence[dict[str, Any]], *, is_last: bool) -> dict[str, Tensor]:
        """Add the gradients of a part; its losses, without gradients."""
        model = self.model
        no_sync: contextlib.AbstractContextManager = contextlib.nullcontext()
        if isinstance(model, DistributedDataParallel) and not is_last:
            no_sync = model.no_sync()  # the workers' gradients are added up once
        is_mixed = self.precision != torch.float32
        with no_sync:
            with torch.autocast(self._device_type, self.precision, enabled=is_mixed):
                losses = model(part)
            mean = sum(losses.values()) / self.accumulate_steps
            self.grad_scaler.scale(mean).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    @property
    def has_failed(self) -> bool:
        """Whether the update of the last step was skipped."""
        return self._num_failed_steps > 0

    def request_stop(self) -> None:
        """Ask for :attr:`should_stop` in all workers."""
        self._stop_requested = True

    @property
    def should_stop(self) -> bool:
        """Whether training is to end after the current step, the same in all workers."""
        return self._stop_requested if comm.get_world_size() == 1 else self._stop_agreed

    def _before_forward(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        self._file_names = [str(x.get("file_name")) for x in args[0]]
        if self.next_seed is not None:
            seed_all_rng(self.next_seed)
            self.next_seed = None

    def _write_metrics(
        self,
        loss_dict: Mapping[str, Tensor],
        data_time: float,
        prefix: str = "",
        iter: int | None = None,
    ) -> None:
        # The losses and what is to be known about them are copied from the device at once: a step
        # waits for it here alone.
        losses = torch.stack([value.detach().float() for value in loss_dict.values()])
        # Clipping to infinity computes the norm and leaves the gradients as they are.
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), math.inf)
        goes_on = losses.new_full((), not self._stop_requested)
        flags = torch.stack([losses.sum().isfinite(), norm.isfinite(), goes_on])
        if comm.get_world_size() > 1:
            dist.all_reduce(flags, dist.ReduceOp.MIN)
        *values, loss_is_finite, gradient_is_finite, all_go_on = torch.cat((losses, flags)).tolist()
        self._stop_agreed = not all_go_on
        if loss_is_finite and (gradient_is_finite or self._gradient_may_overflow()):
            self._num_failed_steps = 0
            on_host = dict(zip(loss_dict, torch.tensor(values), strict=True))
            super()._write_metrics(on_host, data_time, prefix, iter)
        else:
            self._num_failed_steps += 1
            self._report_failure("gradient" if loss_is_finite else "loss", loss_dict)
            self._skip_update()

    def _gradient_may_overflow(self) -> bool:
        # GradScaler then skips the update and halves the scale, which starts at 2¹⁶.
        return self.grad_scaler.get_scale() > 1

    def _skip_update(self) -> None:
        if not self.grad_scaler.is_enabled():
            # Without gradients, step() changes neither weights nor momentum.
            self.optimizer.zero_grad()
            return
        # GradScaler takes no optimizer without gradients, but skips those that are not finite.
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(math.inf)

    def state_dict(self) -> dict[str, Any]:
        """With the scale of the losses."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on, also from a training in another precision."""
        super().load_state_dict(state_dict)
        if self.grad_scaler.is_enabled() and state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])

    def _report_failure(self, what: str, loss_dict: Mapping[str, Tensor]) -> None:
        losses = ", ".join(f"{name} {value.item():.4g}" for name, value in loss_dict.items())
        message = (
            f"Non-finite {what} at iteration {self.iter}: {losses}. "
            f"Images: {', '.join(self._file_names)}"
        )
        broken = nonfinite_tensors(self.model.state_dict())
        if broken:
            raise FloatingPointError(f"{message}. It has made {broken[0]} of the model non-finite")
        if self._num_failed_steps >= MAX_FAILED_STEPS:
            raise FloatingPointError(f"{message}. {MAX_FAILED_STEPS} steps in a row have failed")
        logger.warning(f"{message}. The update is skipped.")

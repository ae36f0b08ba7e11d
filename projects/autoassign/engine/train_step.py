"""detectron2's training steps, which skip updates that are not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import Tensor, nn

from ..checkpoint import nonfinite_tensors

__all__ = ["MAX_FAILED_STEPS", "FiniteAMPTrainer", "FiniteTrainer"]

logger = logging.getLogger(__name__)

# Training stops after so many failed steps in a row.
MAX_FAILED_STEPS = 3


class FiniteTrainer(SimpleTrainer):
    """A :class:`SimpleTrainer` that skips the update of a step with a non-finite loss or gradient.

    Training stops with a FloatingPointError when skipping does not help: after
    :data:`MAX_FAILED_STEPS` such steps in a row, or when the model itself has become non-finite, as
    batch normalization does after non-finite activations.

    The workers also agree in every step on whether one of them has been asked to stop.

    Attributes:
        next_seed: of the random numbers that the model draws in the next step; None: they are not
            seeded. It counts once, after the batch is loaded, which may draw from the same
            generators.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stop_requested = False
        self._stop_agreed = False
        self._num_failed_steps = 0
        self._file_names: list[str] = []
        self.next_seed: int | None = None
        self.model.register_forward_pre_hook(self._before_forward, prepend=True)

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
        # Both base classes call this between backward() and step(). The losses and what is to be
        # known about them are copied from the device at once: a step waits for it here alone.
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
        return False

    def _skip_update(self) -> None:
        # Without gradients, step() changes neither weights nor momentum.
        self.optimizer.zero_grad()

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


class FiniteAMPTrainer(FiniteTrainer, AMPTrainer):
    """:class:`FiniteTrainer` with mixed precision, where the scale of the loss may be too large."""

    def __init__(self, *args: Any, precision: torch.dtype = torch.float16, **kwargs: Any) -> None:
        """
        Args:
            args: see :class:`detectron2.engine.SimpleTrainer`.
            precision: float16, or bfloat16, which needs no scale of the loss.
            kwargs: see :class:`detectron2.engine.AMPTrainer`.
        """
        if precision == torch.bfloat16:
            kwargs["grad_scaler"] = torch.cuda.amp.GradScaler(enabled=False)
        super().__init__(*args, precision=precision, **kwargs)

    def _gradient_may_overflow(self) -> bool:
        # GradScaler then skips the update and halves the scale, which starts at 2¹⁶.
        return self.grad_scaler.get_scale() > 1

    def _skip_update(self) -> None:
        if not self.grad_scaler.is_enabled():
            super()._skip_update()
            return
        # GradScaler takes no optimizer without gradients, but skips those that are not finite.
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(math.inf)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # The training may have begun without mixed precision, or in bfloat16.
        scaler = state_dict.get("grad_scaler") or self.grad_scaler.state_dict()
        super().load_state_dict({**state_dict, "grad_scaler": scaler})

"""Time of whole training steps and of inference, detectors alternating in one run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

__all__ = ["StepRow", "time_inference", "time_training"]

_WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class StepRow:
    """The steps of one detector.

    Attributes:
        name: of the detector.
        seconds: median of each part of a step: "data" (conversion of the images), "backbone",
            "head", "loss" (in inference: decoding and NMS), "backward", "optimizer", and "step",
            their total.
        spread: least and greatest total.
        images_per_second: of the median step.
        ratio: median over the rounds of this detector's step by that of the first row.
        peak_mb: peak memory of the GPU in MiB without what the other detectors hold; None on a
            CPU, where a process has one peak only.
    """

    name: str
    seconds: dict[str, float]
    spread: tuple[float, float]
    images_per_second: float
    ratio: float
    peak_mb: float | None


# A training or inference step, and the optimizer of the former.
_Step = tuple[Callable[["_Clock"], None], torch.optim.Optimizer | None]


class _Clock:
    """Splits a step into parts; on a GPU every reading waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.parts: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self.parts = {}
        self._last = self._now()

    def lap(self, part: str) -> None:
        now = self._now()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def time_training(
    detectors: Mapping[str, nn.Module], batch: Sequence[dict], *, rounds: int = 5
) -> list[StepRow]:
    """Time training steps with SGD.

    Args:
        detectors: on one device; each with a ``backbone`` and a ``head``.
        batch: what each step trains on.
        rounds: steps of each detector; they alternate.

    Returns:
        A row for each detector, except those that have run out of the GPU's memory.

    Raises:
        torch.cuda.OutOfMemoryError: all of them have.
    """

    def prepare(model: nn.Module) -> _Step:
        model.train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        # So small that weights stay as they are.
        optimizer = torch.optim.SGD(parameters, lr=1e-9, momentum=0.9)

        def step(clock: _Clock) -> None:
            # detectron2's detectors log to it.
            with EventStorage():
                losses: dict[str, Tensor] = model(batch)
                total = torch.stack([loss.float() for loss in losses.values()]).sum()
            clock.lap("loss")
            optimizer.zero_grad()
            total.backward()
            clock.lap("backward")
            optimizer.step()
            clock.lap("optimizer")

        return step, optimizer

    return _alternate(detectors, len(batch), rounds, prepare)


def time_inference(
    detectors: Mapping[str, nn.Module], batch: Sequence[dict], *, rounds: int = 5
) -> list[StepRow]:
    """Time inference; see :func:`time_training`."""

    def prepare(model: nn.Module) -> _Step:
        model.eval()

        def step(clock: _Clock) -> None:
            with torch.no_grad():
                model(batch)
            clock.lap("loss")

        return step, None

    return _alternate(detectors, len(batch), rounds, prepare)


def _alternate(
    detectors: Mapping[str, nn.Module],
    num_images: int,
    rounds: int,
    prepare: Callable[[nn.Module], _Step],
) -> list[StepRow]:
    parts: dict[str, list[dict[str, float]]] = defaultdict(list)
    peaks: dict[str, float] = {}
    steps = {name: prepare(model) for name, model in detectors.items()}
    for number in range(_WARM_UP_ROUNDS + rounds):
        for name in list(steps):
            model, (step, optimizer) = detectors[name], steps[name]
            device = next(model.parameters()).device
            others = 0
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
                others = torch.cuda.memory_allocated(device) - _held_bytes(model, optimizer)
            try:
                seconds = _time_parts(model, step, _Clock(device))
            except torch.cuda.OutOfMemoryError:
                del steps[name]
                parts.pop(name, None)
                model.zero_grad()
                if not steps:
                    raise
                continue
            if device.type == "cuda":
                peaks[name] = (torch.cuda.max_memory_allocated(device) - others) / 2**20
            if number >= _WARM_UP_ROUNDS:
                parts[name].append(seconds)
    first = [seconds["step"] for seconds in next(iter(parts.values()))]
    return [
        _summarize(name, of_rounds, first, num_images, peaks.get(name))
        for name, of_rounds in parts.items()
    ]


def _time_parts(
    model: nn.Module, step: Callable[[_Clock], None], clock: _Clock
) -> dict[str, float]:
    """Seconds of each part of one step, and of all of it."""
    backbone, head = model.get_submodule("backbone"), model.get_submodule("head")
    handles = [
        backbone.register_forward_pre_hook(lambda *_: clock.lap("data")),
        backbone.register_forward_hook(lambda *_: clock.lap("backbone")),
        head.register_forward_hook(lambda *_: clock.lap("head")),
    ]
    try:
        clock.start()
        step(clock)
    finally:
        for handle in handles:
            handle.remove()
    return {**clock.parts, "step": sum(clock.parts.values())}


def _held_bytes(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> int:
    """Memory of a detector between its steps: its tensors, gradients and momentum."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [x.grad for x in model.parameters() if x.grad is not None]
    for state in optimizer.state.values() if optimizer else ():
        tensors += [x for x in state.values() if isinstance(x, Tensor)]
    return sum(x.numel() * x.element_size() for x in tensors)


def _summarize(
    name: str,
    of_rounds: Sequence[dict[str, float]],
    first: Sequence[float],
    num_images: int,
    peak_mb: float | None,
) -> StepRow:
    totals = [seconds["step"] for seconds in of_rounds]
    return StepRow(
        name=name,
        seconds={part: median(seconds[part] for seconds in of_rounds) for part in of_rounds[0]},
        spread=(min(totals), max(totals)),
        images_per_second=num_images / median(totals),
        ratio=median(a / b for a, b in zip(totals, first, strict=True)),
        peak_mb=peak_mb,
    )

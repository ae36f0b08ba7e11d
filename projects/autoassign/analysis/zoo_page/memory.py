"""Memory of training a detector, without a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..benchmark import DenseOutputs

__all__ = ["training_memory"]

# 800 × 1333 pixels, as they are padded.
_IMAGE_SIZE = (800, 1344)


class _Backward(DenseOutputs):
    """A forward and a backward pass, in which activation checkpointing runs the model again."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = super().forward(images)
        total = torch.stack([output.sum() for output in outputs]).sum()
        del outputs
        total.backward()
        return ()


def training_memory(detector: nn.Module, batch_size: int, states_per_parameter: int) -> int:
    """Bytes that a training step needs at its peak, for images of 800 × 1333 pixels.

    Every tensor of a forward and a backward pass is followed from its allocation to its end, with
    tensors that have shapes only. What is not seen: the loss, and the workspace of cuDNN.

    Args:
        detector: derives from detectron2's DenseDetector.
        batch_size: images.
        states_per_parameter: tensors that the optimizer keeps for each parameter.
    """
    model = _Backward(detector).train()
    with FakeTensorMode() as fake, _LiveMemory() as memory:
        tensors: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            tensors[name] = fake.from_tensor(parameter).requires_grad_(parameter.requires_grad)
        tensors |= {name: fake.from_tensor(buffer) for name, buffer in model.named_buffers()}
        for tensor in tensors.values():
            memory.follow(tensor)
        functional_call(model, tensors, (torch.empty(batch_size, 3, *_IMAGE_SIZE),))
    trained = sum(p.numel() * p.element_size() for p in detector.parameters() if p.requires_grad)
    return memory.peak + states_per_parameter * trained


class _LiveMemory(TorchDispatchMode):
    """Adds up the storages that live at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, int] = {}
        self._total = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self.follow(value)
        return result

    def follow(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        self._live[key] = storage.nbytes()
        self._total += storage.nbytes()
        self.peak = max(self.peak, self._total)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._total -= self._live.pop(key)

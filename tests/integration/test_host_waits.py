"""How often a training step makes the host wait for the GPU.

On a CPU nothing waits: what would is counted, by the operations that need a value on the host, or
a size that depends on one. With a GPU, torch itself tells.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage
from narrow_model import head_options, image_input, narrow_model
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autoassign.config import LABEL_ASSIGNMENT_REGISTRY
from autoassign.engine.train_step import FiniteTrainer
from autoassign.modeling import Grid, GroundTruth

# The greatest number of waits in a step that writes no statistics of the assignment. One of them
# tells the losses and whether losses and gradients are finite.
BOUNDS = {
    "AutoAssign": 2,
    "DSLA": 2,
    "FCOS": 2,
    "ATSS": 2,
    # These look for the best of the predictions.
    "FSAF": 11,
    "FreeAnchor": 7,
    "GuidedAnchoring": 14,
    "MaxIoU": 8,
    "SAPD": 7,
    "SimOTA": 10,
    "TAL": 8,
}
MOST = 16  # of a strategy that is not named
# Functions of tensors that are on the host before the step, besides those made from host boxes.
ON_THE_HOST = {"from_tensors", "write_metrics"}

# Operations that copy to the host, or whose result has a size that depends on values.
WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "bincount", "histc", "equal"),
    *("_unique2", "unique_dim", "unique_consecutive"),
}
# The same, of what is no operation on a CPU.
COPIES = {"tolist", "cpu", "numpy"}
# Numbers of Python are copied to the device, which waits until they have arrived.
CONSTANTS = {"new_tensor", "tensor", "as_tensor"}


class OnHost(torch.Tensor):
    """What stays on the host with a GPU, too: boxes of the data loader, and results from them."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        is_copied = getattr(func, "__name__", "") == "to"
        return result.as_subclass(torch.Tensor) if is_copied else result


def has_host_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(has_host_tensor, value))
    return isinstance(value, OnHost)


class Waits(TorchDispatchMode):
    """Counts waits by the place in the project that causes them."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def count(self, operation: str) -> None:
        where = "outside the project"
        for frame, _ in traceback.walk_stack(sys._getframe()):
            code = frame.f_code
            if code.co_name in ON_THE_HOST:
                return
            if where == "outside the project" and "/autoassign/" in code.co_filename:
                where = f"{Path(code.co_filename).name}, {code.co_name}"
        self.places[f"{operation} in {where}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(x is not None and x.dtype == torch.bool for x in indices)
        unsized = name == "repeat_interleave" and kwargs.get("output_size") is None
        if (name in WAITING or by_mask or unsized) and not has_host_tensor(args):
            self.count(name)
        return func(*args, **kwargs)


class Copies(TorchFunctionMode):
    """Adds to the waits what is no operation on a CPU."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        from_numbers = name in CONSTANTS and (name == "new_tensor" or kwargs.get("device"))
        if (name in COPIES or from_numbers) and not has_host_tensor(args):
            self.waits.count(name)
        return func(*args, **kwargs)


def second_step(name: str, counting: AbstractContextManager[Any], device: str = "cpu") -> None:
    """Train two steps; the first fills caches, the second is counted."""
    model = narrow_model(*head_options(name), "MODEL.DEVICE", device)
    batch = [
        image_input([[10.0, 12.0, 60.0, 70.0], [20.0, 5.0, 100.0, 80.0]], [1, 2]),
        image_input([[30.0, 20.0, 44.0, 31.0]], [4], seed=1),
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, foreach=True)
    trainer = FiniteTrainer(model, [batch, batch], optimizer)
    with EventStorage() as storage:
        trainer.iter = storage.iter = 0
        trainer.run_step()
        trainer.iter = storage.iter = 1
        with counting:
            trainer.run_step()


@contextmanager
def counted(waits: Waits) -> Iterator[None]:
    with waits, Copies(waits):
        yield


@contextmanager
def torch_warnings_of_waits() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def _no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in most iterations; other tests may have asked for them in every one."""
    monkeypatch.setattr("autoassign.modeling.detector._STATISTICS_PERIOD", 20)


@pytest.fixture
def _host_boxes_are_tagged(monkeypatch: pytest.MonkeyPatch) -> None:
    def host_boxes(gt: GroundTruth) -> torch.Tensor:
        return (gt._source or gt).boxes.as_subclass(OnHost)

    monkeypatch.setattr(GroundTruth, "host_boxes", property(host_boxes))


every_strategy = pytest.mark.parametrize("name", [name for name, _ in LABEL_ASSIGNMENT_REGISTRY])


@every_strategy
@pytest.mark.usefixtures("_host_boxes_are_tagged")
def test_a_training_step_waits_at_most_so_often(name):
    waits = Waits()
    second_step(name, counted(waits))
    assert waits.places.total() <= BOUNDS.get(name, MOST), waits.places


def test_a_grid_of_a_new_size_is_not_waited_for():
    waits = Waits()
    with counted(waits):
        grid = Grid((8, 16), ((5, 9), (3, 5)), torch.device("cpu"))
        assert len(grid.locations) == len(grid.location_strides) == 60
        assert len(grid.level_sizes) == 2
        assert grid.tiles.shape == (1, 64)
    assert not waits.places


@pytest.mark.cuda
@every_strategy
def test_a_training_step_on_a_gpu_waits_at_most_so_often(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second_step(name, torch_warnings_of_waits(), "cuda")
    waits = [x for x in caught if "synchronizing CUDA operation" in str(x.message)]
    assert len(waits) <= BOUNDS.get(name, MOST), [f"{x.filename}:{x.lineno}" for x in waits]

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training_runs import CONFIG, SMALL_RUN

from autoassign.engine import launch
from autoassign.modeling import Grid, GroundTruth, LabelAssignment, Predictions
from autoassign.modeling.assignment import ATSS, DSLA, FCOS, AutoAssign

REPOSITORY = Path(__file__).parents[2]
GRID = Grid((8, 16), ((8, 10), (4, 5)), torch.device("cpu"))
NUM_CLASSES = 3
# Two halves of a batch: one image with three objects, one without any.
OBJECTS = [([[4, 6, 50, 40], [10, 10, 60, 60], [30, 2, 78, 30]], [0, 2, 2]), ([], [])]


@pytest.fixture(autouse=True)
def _not_under_torchrun(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)


def test_gpus_that_are_not_there_become_one_process_on_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    calls = []
    arguments = argparse.Namespace(num_gpus=8, num_machines=1, machine_rank=0, dist_url="auto")
    launch(calls.append, arguments)
    assert calls == [arguments]
    printed = capsys.readouterr().out
    assert "No CUDA device is available" in printed
    assert "one process on the CPU" in printed


def test_one_process_is_started_without_a_word(capsys):
    calls = []
    arguments = argparse.Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto")
    launch(calls.append, arguments)
    assert len(calls) == 1
    assert not capsys.readouterr().out


def test_torchrun_trains_with_two_workers(shapes, tmp_path):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(REPOSITORY / "train_net.py", "--config-file", CONFIG, *SMALL_RUN),
        *("DATASETS.CUSTOM.ROOT", shapes, "OUTPUT_DIR", tmp_path, "SOLVER.MAX_ITER", "2"),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "projects"), *sys.path]),
    }
    result = subprocess.run(
        [str(x) for x in command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Worker 0 of 2" in (tmp_path / "log.txt").read_text()
    assert "Worker 1 of 2" in (tmp_path / "log.txt.rank1").read_text()
    state = torch.load(tmp_path / "model_final.pth", weights_only=False)
    assert state["iteration"] == 1
    assert (tmp_path / "metrics.json").read_text().count("bbox/AP50") == 1


class Losses(nn.Module):
    """A strategy on dense predictions that are parameters, so that their gradients are reduced."""

    def __init__(self, assignment: LabelAssignment) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shape = (len(OBJECTS), GRID.num_locations)

        def draw(*channels: int) -> nn.Parameter:
            values = torch.randn(*shape, *channels, generator=generator, dtype=torch.float64)
            return nn.Parameter(values)

        self.cls_logits, self.obj_logits, self.distances = draw(NUM_CLASSES), draw(), draw(4)
        self.extra = nn.ParameterDict({x.name: draw() for x in assignment.extra_outputs})
        self.assignment = assignment.double()

    def forward(self, images: list[int]) -> dict[str, torch.Tensor]:
        predictions = Predictions(
            cls_logits=self.cls_logits[images],
            ltrb=self.distances[images].exp() * 12,
            obj_logits=self.obj_logits[images],
            extra={name: x[images][..., None] for name, x in self.extra.items()},
        )
        boxes, classes = ([x for i in images for x in OBJECTS[i][k]] for k in (0, 1))
        gt = GroundTruth(
            torch.tensor(boxes, dtype=torch.float64).view(-1, 4),
            torch.tensor(classes, dtype=torch.long),
            tuple(len(OBJECTS[i][1]) for i in images),
        )
        return self.assignment(predictions, GRID, gt)[0]


STRATEGIES = {
    "AutoAssign": lambda: AutoAssign(num_classes=NUM_CLASSES),
    "DSLA": DSLA,
    "FCOS": FCOS,
    "ATSS": ATSS,
}


def losses_and_gradients(model: nn.Module, images: list[int]) -> dict[str, np.ndarray]:
    losses = model(images)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    values = {**losses, **gradients}
    return {name.removeprefix("module."): x.detach().numpy() for name, x in values.items()}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=2, rank=rank)
    for name, build in STRATEGIES.items():
        values = losses_and_gradients(DistributedDataParallel(Losses(build())), [rank])
        np.savez(f"{folder}/{name}_{rank}.npz", **values)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder_of_workers(tmp_path_factory) -> Path:
    """What two processes computed with every strategy, the second one without an object."""
    folder = tmp_path_factory.mktemp("workers")
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_workers_learn_from_half_a_batch_each_what_one_learns_from_the_whole(
    folder_of_workers, strategy
):
    whole = losses_and_gradients(Losses(STRATEGIES[strategy]()), [0, 1])
    halves = [np.load(folder_of_workers / f"{strategy}_{rank}.npz") for rank in (0, 1)]
    for name, expected in whole.items():
        assert np.abs(expected).max() > 0
        if name.startswith("loss_"):
            # Sums over a worker's images by means over the workers: their mean is that of all,
            # but for the 1e-7 that DSLA adds to its denominators.
            assert (halves[0][name] + halves[1][name]) / 2 == pytest.approx(expected, rel=1e-7)
            continue
        for half in halves:
            np.testing.assert_allclose(half[name], expected, rtol=1e-7, atol=1e-15)
    without_object = set(whole) & {"loss_pos", "loss_center", "loss_box", "loss_centerness"}
    assert all(halves[1][name] == 0 for name in without_object)

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_runs import CONFIG, SMALL_RUN

from autoassign.engine import launch

REPOSITORY = Path(__file__).parents[2]


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

"""Signals and kills that reach trainings of one and of several processes from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_runs import CONFIG, SMALL_RUN

pytestmark = pytest.mark.faults

REPOSITORY = Path(__file__).parents[2]
OPTIONS = (
    *SMALL_RUN,
    *("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", ""),
    *("SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.MAX_ITER", 12),
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
# Two workers as launch starts them for two GPUs.
WORKERS = """
import sys
from autoassign.cli.arguments import parse_arguments
from autoassign.cli import train
from autoassign.engine.launch import start_workers
import argparse
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    args = parse_arguments(parser, sys.argv[1:])
    args.prog, args.debug = "train_net.py", False
    start_workers(train._worker, args, 2)
"""


def words(shapes: Path, output: Path, *more: object) -> list[str]:
    folders = ("DATASETS.CUSTOM.ROOT", shapes, "OUTPUT_DIR", output)
    return [str(x) for x in ("--config-file", CONFIG, *OPTIONS, *folders, *more)]


@contextlib.contextmanager
def started(*command: object) -> Iterator[subprocess.Popen]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "projects"), *sys.path]),
    }
    process = subprocess.Popen(
        [str(x) for x in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    """Process ids below a process, nearest first."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(x) for x in path.read_text().split()] if path.exists() else []
    return children + [x for child in children for x in descendants(child)]


def final_weights(output: Path) -> dict:
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory) -> Path:
    """A training with two workers that nothing happened to."""
    output = tmp_path_factory.mktemp("whole") / "out"
    command = (*TORCHRUN, REPOSITORY / "train_net.py", *words(shapes, output))
    with started(*command) as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return output


def assert_same_weights(ours: Path, theirs: Path) -> None:
    a, b = final_weights(ours), final_weights(theirs)
    assert all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts(whole, shapes, tmp_path, outcome, rank):
    """SIGKILL of one of two workers, three times, under torchrun --max-restarts 3"""
    output = tmp_path / "out"
    command = (*TORCHRUN, "--max-restarts", 3, REPOSITORY / "train_net.py")
    with started(*command, *words(shapes, output, "--resume")) as process:
        for iteration in (1, 4, 7):
            wait_for(output / f"model_{iteration:07d}.pth", process)
            workers = [x for x in descendants(process.pid) if b"train_net" in cmdline(x)]
            os.kill(workers[rank], signal.SIGKILL)
        printed, _ = process.communicate(timeout=400)
    assert process.returncode == 0, printed
    assert_same_weights(output, whole)
    outcome("three restarts; ends with the weights of an uninterrupted training")


def cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.mark.parametrize("to", ["launcher", "all"])
def test_sigterm_under_torchrun(whole, shapes, tmp_path, outcome, to):
    """SIGTERM to torchrun, or to it and all of its processes, as clusters send it"""
    output = tmp_path / "out"
    command = (*TORCHRUN, REPOSITORY / "train_net.py", *words(shapes, output))
    with started(*command, "DATALOADER.NUM_WORKERS", 1) as process:
        wait_for(output / "model_0000002.pth", process)
        if to == "all":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        printed, _ = process.communicate(timeout=200)
    assert "Stopped by SIGTERM after" in printed
    assert "The same torchrun command with --resume resumes it." in printed
    assert process.returncode != 0
    with started(*command, "--resume") as process:
        printed, _ = process.communicate(timeout=400)
    assert process.returncode == 0, printed
    assert_same_weights(output, whole)
    outcome("a checkpoint and one line; resumed to the weights of an uninterrupted training")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_workers_that_were_started(whole, shapes, tmp_path, outcome, number):
    """SIGTERM to the parent of two workers, or Ctrl-C in their terminal"""
    output = tmp_path / "out"
    (tmp_path / "workers.py").write_text(WORKERS)
    command = (sys.executable, tmp_path / "workers.py", *words(shapes, output))
    with started(*command) as process:
        wait_for(output / "model_0000002.pth", process)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        printed, _ = process.communicate(timeout=200)
    assert process.returncode == 128 + number, printed
    assert printed.count("Stopped by") == 1
    assert "Traceback" not in printed
    with started(*command, "--resume") as process:
        printed, _ = process.communicate(timeout=400)
    assert process.returncode == 0, printed
    assert_same_weights(output, whole)
    outcome(f"exit status {128 + number}, one line; resumed to the same weights")


def test_a_mistake_in_workers_that_were_started(shapes, tmp_path, outcome):
    """A wrong option value, met by two workers"""
    (tmp_path / "workers.py").write_text(WORKERS)
    command = (sys.executable, tmp_path / "workers.py", *words(shapes, tmp_path / "out"))
    with started(*command, "SOLVER.IMS_PER_BATCH", 3) as process:
        printed, _ = process.communicate(timeout=200)
    assert process.returncode == 2, printed
    assert "SOLVER.IMS_PER_BATCH is 3; it must be a multiple of the 2 workers" in printed
    assert "Traceback" not in printed
    outcome("a sentence of each worker, exit status 2")


def test_orphaned_loading_processes(shapes, tmp_path, outcome):
    """SIGKILL of a training with loading processes, which is started again at once"""
    output = tmp_path / "out"
    options = (*words(shapes, output, "--resume"), "DATALOADER.NUM_WORKERS", 2)
    command = (sys.executable, REPOSITORY / "train_net.py", *options)
    with started(*command) as process:
        wait_for(output / "model_0000002.pth", process)
        loaders = descendants(process.pid)
        process.kill()
        with started(*command) as again:
            printed, _ = again.communicate(timeout=300)
        assert again.returncode == 0, printed
        deadline = time.monotonic() + 30
        while any(b"train_net" in cmdline(pid) for pid in loaders):
            assert time.monotonic() < deadline, "loading processes stay"
            time.sleep(0.5)
    outcome("the folder is free at once, the training goes on, and the orphans end")

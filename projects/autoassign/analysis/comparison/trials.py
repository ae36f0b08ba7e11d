"""Trainings as child processes, some at a time, each with its share of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Trial", "divide_machine", "run_trials", "train_command"]

_POLL_SECONDS = 0.2
# Before a training that was asked to end is killed.
_GRACE_SECONDS = 10


@dataclass(frozen=True)
class Trial:
    """One training: a candidate with a seed.

    Attributes:
        name: of the candidate.
        seed: ``SEED`` of the training.
        folder: of the candidate.
        iterations: the number of iterations to train.
    """

    name: str
    seed: int
    folder: Path
    iterations: int

    def __str__(self) -> str:
        return f"{self.name} seed {self.seed}"

    @property
    def config_file(self) -> Path:
        """What the training reads."""
        return self.folder / "config.yaml"

    @property
    def output_dir(self) -> Path:
        """``OUTPUT_DIR`` of the training."""
        return self.folder / f"seed{self.seed}"

    @property
    def log(self) -> Path:
        """What the process prints; detectron2 writes log.txt beside it."""
        return self.output_dir / "stdout.txt"

    def last_lines(self, count: int = 12) -> str:
        """The end of the log, indented."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
        return "\n".join(f"    {line}" for line in lines)


@dataclass
class _Running:
    """A training under way, its share of the machine, and its peak memory."""

    trial: Trial
    process: subprocess.Popen[bytes]
    share: dict[str, str]
    peak_memory_mb: float | None = None


def train_command(trial: Trial, num_gpus: int) -> list[str]:
    """The command line of a training, which resumes from its last checkpoint if it has one."""
    return [
        *(sys.executable, "-m", "autoassign", "train"),
        *("--config-file", str(trial.config_file), "--num-gpus", str(num_gpus), "--resume"),
        *("OUTPUT_DIR", str(trial.output_dir), "SEED", str(trial.seed)),
    ]


def divide_machine(jobs: int, num_gpus: int | None) -> list[dict[str, str]]:
    """Environment variables that give each of ``jobs`` simultaneous trainings its share.

    Args:
        jobs: trainings at a time.
        num_gpus: GPUs of each training; None on the CPU, whose cores are divided.

    Raises:
        ValueError: there are fewer GPUs than that takes.
    """
    if num_gpus is None:
        if jobs == 1:
            return [{}]
        threads = str(max(1, _num_cores() // jobs))
        return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}] * jobs
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    devices = visible.split(",")[:count] if visible else [str(i) for i in range(count)]
    if jobs * num_gpus > count:
        raise ValueError(
            f"{jobs} trainings at a time with {num_gpus} GPUs each take {jobs * num_gpus}, but "
            f"{count} are visible: give a smaller --jobs or --num-gpus"
        )
    shares = [devices[i * num_gpus : (i + 1) * num_gpus] for i in range(jobs)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(share)} for share in shares]


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: those this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_trials(
    trials: Iterable[Trial],
    shares: Sequence[dict[str, str]],
    num_gpus: int,
    on_end: Callable[[Trial, int, float | None], None],
) -> None:
    """Run trainings in their order, as many at a time as there are shares of the machine.

    Whatever ends this function early, such as Ctrl-C, ends the trainings first.

    After each training, ``on_end`` is called with its exit code and the peak memory of its main
    process in MB, None where that is not known.
    """
    waiting = list(trials)[::-1]
    free = list(shares)
    running: list[_Running] = []
    with _signals_as_interrupts():
        try:
            while waiting or running:
                while waiting and free:
                    running.append(_start(waiting.pop(), num_gpus, free.pop(0)))
                time.sleep(_POLL_SECONDS)
                for each in list(running):
                    code = each.process.poll()
                    if code is None:
                        # A process that is about to end has no memory any more.
                        memory = _peak_memory_mb(each.process.pid)
                        each.peak_memory_mb = memory or each.peak_memory_mb
                        continue
                    running.remove(each)
                    free.append(each.share)
                    on_end(each.trial, code, each.peak_memory_mb)
        finally:
            _stop([each.process for each in running])


def _start(trial: Trial, num_gpus: int, share: dict[str, str]) -> _Running:
    trial.output_dir.mkdir(parents=True, exist_ok=True)
    with trial.log.open("ab") as log:
        # In a session of its own: Ctrl-C reaches this process only, which ends its workers too.
        process = subprocess.Popen(
            train_command(trial, num_gpus),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **share},
            start_new_session=True,
        )
    return _Running(trial, process, share)


def _peak_memory_mb(pid: int) -> float | None:
    """The most resident memory that a process has had."""
    # Not ru_maxrss, which also counts this process, from which the child was forked.
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        # Also where the process has ended: its workers may be alive.
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """A closed terminal and a cluster's SIGTERM end the trainings too, as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

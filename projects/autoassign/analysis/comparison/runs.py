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

__all__ = ["Run", "make_slots", "run_all", "train_command"]

_POLL_SECONDS = 0.2
# What a training gets to end by itself before it is killed.
_GRACE_SECONDS = 10


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: the config's.
        seed: ``SEED`` of the training.
        config_file: what it reads.
        output_dir: its ``OUTPUT_DIR``.
    """

    name: str
    seed: int
    config_file: Path
    output_dir: Path

    @property
    def log(self) -> Path:
        """What the process prints; detectron2's log.txt of each worker lies beside it."""
        return self.output_dir / "stdout.txt"

    def last_lines(self, count: int = 12) -> str:
        """The end of the log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-count:]
        return "\n".join(f"    {line}" for line in lines)


def train_command(run: Run, num_gpus: int) -> list[str]:
    """The command line of a training, which goes on from its last checkpoint if it has one."""
    return [
        *(sys.executable, "-m", "autoassign", "train"),
        *("--config-file", str(run.config_file), "--num-gpus", str(num_gpus), "--resume"),
        *("OUTPUT_DIR", str(run.output_dir), "SEED", str(run.seed)),
    ]


def make_slots(jobs: int, num_gpus: int | None) -> list[dict[str, str]]:
    """Environment variables that give each of ``jobs`` trainings at a time its share.

    Args:
        jobs: trainings at a time.
        num_gpus: GPUs of each training; None on the CPU, where the cores are divided.

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
            f"{jobs} trainings at a time with {num_gpus} GPUs each take {jobs * num_gpus}, and "
            f"{count} can be seen: give a smaller --jobs or --num-gpus"
        )
    shares = [devices[i * num_gpus : (i + 1) * num_gpus] for i in range(jobs)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(share)} for share in shares]


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: those this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_all(
    runs: Iterable[Run],
    slots: Sequence[dict[str, str]],
    num_gpus: int,
    on_end: Callable[[Run, int], None],
) -> None:
    """Run all trainings, as many at a time as there are slots, in their order.

    Args:
        runs: the trainings.
        slots: see :func:`make_slots`.
        num_gpus: processes of each training.
        on_end: called with each run that ends, and its exit code.

    Whatever ends this function early, such as Ctrl-C, ends the trainings first.
    """
    waiting = list(runs)[::-1]
    free = list(slots)
    running: list[tuple[Run, subprocess.Popen[bytes], dict[str, str]]] = []
    with _signals_as_interrupts():
        try:
            while waiting or running:
                while waiting and free:
                    slot = free.pop(0)
                    run = waiting.pop()
                    running.append((run, _start(run, num_gpus, slot), slot))
                time.sleep(_POLL_SECONDS)
                for entry in list(running):
                    run, process, slot = entry
                    if process.poll() is not None:
                        running.remove(entry)
                        free.append(slot)
                        on_end(run, process.returncode)
        finally:
            _stop([process for _, process, _ in running])


def _start(run: Run, num_gpus: int, slot: dict[str, str]) -> subprocess.Popen[bytes]:
    run.output_dir.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab") as log:
        # A session of its own: Ctrl-C comes here alone, and its workers end with it.
        return subprocess.Popen(
            train_command(run, num_gpus),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **slot},
            start_new_session=True,
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        # Also where the process has ended: its workers may not have.
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

"""Seconds per iteration of each config, from which a budget of time gets its iterations."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from .conditions import Candidate
from .plan import write_text
from .results import read_times
from .runs import Run, run_all

__all__ = ["MeasurementError", "measure_seconds"]

_ROUNDS = 3
# detectron2 writes the median of the last 20: the first 20 warm up.
_ITERATIONS = 40


class MeasurementError(RuntimeError):
    """The speed of a config could not be measured, because its training has failed."""


def measure_seconds(
    candidates: Sequence[Candidate],
    folder: Path,
    *,
    slots: Sequence[dict[str, str]],
    num_gpus: int,
) -> dict[str, float]:
    """Train every config for some iterations, several times in turn.

    The trainings are started as the runs will be, as many at a time, so that what they share is
    shared here too. In turn, because the speed of a machine drifts.

    Args:
        candidates: the configs.
        folder: for the trainings; removed afterwards.
        slots: shares of the machine, see :func:`~autoassign.analysis.comparison.runs.make_slots`.
        num_gpus: GPUs of each training.

    Returns:
        Name -> median of seconds per iteration.

    Raises:
        MeasurementError: a training has failed; the end of its log is told.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a measurement that was interrupted
    runs = []
    for number in range(_ROUNDS):
        for candidate in candidates:
            config_file = folder / f"{candidate.name}.yaml"
            write_text(config_file, _short_config(candidate))
            output_dir = folder / f"{candidate.name}_{number}"
            runs.append(Run(candidate.name, number, config_file, output_dir))
    seconds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}

    def on_end(run: Run, code: int) -> None:
        times = read_times(run.output_dir)
        if code or not times:
            raise MeasurementError(
                f"measuring the speed of {run.name} failed with exit code {code}; the end of "
                f"{run.log}:\n{run.last_lines()}"
            )
        seconds[run.name].append(times[-1])

    run_all(runs, slots, num_gpus, on_end)
    shutil.rmtree(folder)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _short_config(candidate: Candidate) -> str:
    cfg = candidate.cfg.clone()
    cfg.SOLVER.MAX_ITER = _ITERATIONS
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.CHECKPOINT_PERIOD = _ITERATIONS
    # Training alone is timed: nothing is evaluated.
    cfg.TEST.EVOLUTION.ENABLED = False
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.DATASETS.TEST = ()
    cfg.DATASETS.CUSTOM.TEST = ""
    cfg.DATASETS.CUSTOM.TEST_IMAGES = ""
    return cfg.dump()

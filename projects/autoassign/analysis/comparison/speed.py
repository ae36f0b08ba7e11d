"""Seconds per iteration of each candidate, from which a time budget gets its iterations."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from .candidates import Candidate
from .plan import config_path, write_text
from .results import read_times
from .trials import Trial, run_trials

__all__ = ["MeasurementError", "measure_seconds"]

_ROUNDS = 3
# detectron2 writes the median of the last 20: the first 20 warm up.
_ITERATIONS = 40


class MeasurementError(RuntimeError):
    """The speed of a candidate could not be measured, because its training failed."""


def measure_seconds(
    candidates: Sequence[Candidate],
    folder: Path,
    *,
    shares: Sequence[dict[str, str]],
    num_gpus: int,
) -> dict[str, float]:
    """Train every candidate for some iterations, several times in turn.

    As many trainings run at a time as the trials will, so that they share the machine alike. They
    take turns because the speed of a machine drifts. Their folder is removed afterwards.

    Returns:
        Name -> median of seconds per iteration.

    Raises:
        MeasurementError: a training has failed; the message has the end of its log.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted measurement
    for candidate in candidates:
        write_text(config_path(folder, candidate.name), _short_config(candidate.cfg).dump())
    trials = [
        Trial(x.name, i, folder / x.name, _ITERATIONS) for i in range(_ROUNDS) for x in candidates
    ]
    seconds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}

    def on_end(trial: Trial, code: int, _: float | None) -> None:
        times = read_times(trial.output_dir)
        if code or not times:
            raise MeasurementError(
                f"measuring the speed of {trial.name} failed with exit code {code}; the end of "
                f"{trial.log}:\n{trial.last_lines()}"
            )
        seconds[trial.name].append(times[-1])

    run_trials(trials, shares, num_gpus, on_end)
    shutil.rmtree(folder)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _short_config(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.SOLVER.MAX_ITER = cfg.SOLVER.CHECKPOINT_PERIOD = _ITERATIONS
    cfg.SOLVER.STEPS = ()
    # Only training is timed: nothing is evaluated.
    cfg.TEST.EVOLUTION.ENABLED = False
    cfg.TEST.EXPECTED_RESULTS = []
    cfg.DATASETS.TEST = ()
    cfg.DATASETS.CUSTOM.TEST = cfg.DATASETS.CUSTOM.TEST_IMAGES = ""
    return cfg

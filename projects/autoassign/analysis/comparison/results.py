"""What trials have left in their folders, and statistics over their seeds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...runs import Metrics, iterations_done, read_metrics
from .plan import write_text
from .trials import Trial

__all__ = [
    "Estimate",
    "TrialResult",
    "class_metrics",
    "mean_over_seeds",
    "paired_difference",
    "read_result",
    "read_times",
    "record_resources",
]


@dataclass
class TrialResult:
    """What is known about a trial.

    Attributes:
        trial: the trial.
        curve: (iterations done, AP) of each evaluation; AP is NaN without a detection.
        metrics: of the evaluation after the last iteration; empty before that.
        seconds_per_iteration: median; None before the first iterations were timed.
        minutes: of training, without evaluation.
        peak_memory_mb: of the GPU, or of the main process on a CPU.
        machine: where and with what it was trained.
        failed: its training has ended without that evaluation.
    """

    trial: Trial
    curve: list[tuple[int, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds_per_iteration: float | None = None
    minutes: float | None = None
    peak_memory_mb: float | None = None
    machine: str = ""
    failed: bool = False

    @property
    def finished(self) -> bool:
        """Whether there is an evaluation after the last iteration."""
        return bool(self.metrics)

    @property
    def without_detections(self) -> bool:
        """Whether nothing was detected: no metric of the last evaluation is a number."""
        return self.finished and math.isnan(self.metrics["AP"])

    @property
    def status(self) -> str:
        """One of "finished", "failed" and "missing"."""
        if self.finished:
            return "finished"
        return "failed" if self.failed else "missing"


def read_result(trial: Trial, test_datasets: Sequence[str]) -> TrialResult:
    """Read what a trial has left so far; with several test datasets, metrics of the first.

    Raises:
        ValueError: its metrics.json is malformed.
    """
    result = TrialResult(trial)
    path = trial.output_dir / "metrics.json"
    if not path.exists():
        return result
    metrics = read_metrics(path)
    evaluations = metrics.evaluations(test_datasets, trial.iterations)
    result.curve = [(done, values["AP"]) for done, values in sorted(evaluations.items())]
    result.metrics = evaluations.get(trial.iterations, {})
    times = _times(metrics)
    if times:
        result.seconds_per_iteration = statistics.median(times)
        done = iterations_done(metrics.rows[-1], trial.iterations)
        result.minutes = statistics.fmean(times) * done / 60
    resources = _read_resources(trial)
    result.machine = resources.get("machine", "")
    on_gpu = [row["max_mem"] for row in metrics.rows if "max_mem" in row]
    result.peak_memory_mb = max(on_gpu, default=resources.get("peak_memory_mb"))
    return result


def read_times(output_dir: Path) -> list[float]:
    """Seconds per iteration as detectron2 writes them: medians of up to 20 iterations."""
    path = output_dir / "metrics.json"
    return _times(read_metrics(path)) if path.exists() else []


def _times(metrics: Metrics) -> list[float]:
    return [row["time"] for row in metrics.rows if "time" in row]


def record_resources(trial: Trial, machine: str, peak_memory_mb: float | None) -> None:
    """Keep what a training took beside its metrics; of a resumed one, the greatest memory."""
    known = (peak_memory_mb, _read_resources(trial).get("peak_memory_mb"))
    peak = max((x for x in known if x is not None), default=None)
    content = {"machine": machine, "peak_memory_mb": peak}
    write_text(trial.output_dir / "resources.json", json.dumps(content) + "\n")


def _read_resources(trial: Trial) -> dict:
    path = trial.output_dir / "resources.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def class_metrics(results: Sequence[TrialResult]) -> list[str]:
    """The keys of the AP of single classes ("AP-cat"); none where there is one class."""
    return sorted({key for x in results for key in x.metrics if key.startswith("AP-")})


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its uncertainty.

    Attributes:
        mean: NaN where no trial is finished, or the data has no such objects.
        error: sample standard deviation (n − 1), or standard error; NaN for less than two values.
        values: of each seed.
    """

    mean: float
    error: float
    values: tuple[float, ...]

    def __format__(self, spec: str) -> str:
        if math.isnan(self.mean):
            return "–"
        error = "" if math.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.mean:{spec or '.2f'}}{error}"


def mean_over_seeds(results: Sequence[TrialResult], metric: str) -> Estimate:
    """Mean and standard deviation of a metric over the finished ones of ``results``."""
    return _estimate(tuple(_by_seed(results, metric).values()))


def paired_difference(
    results: Sequence[TrialResult], reference: Sequence[TrialResult], metric: str
) -> Estimate:
    """Mean and standard error of ``results`` − ``reference``, over the seeds that both have."""
    own, other = _by_seed(results, metric), _by_seed(reference, metric)
    values = tuple(own[seed] - other[seed] for seed in sorted(own.keys() & other.keys()))
    return _estimate(values, divisor=math.sqrt(len(values)))


def _by_seed(results: Sequence[TrialResult], metric: str) -> dict[int, float]:
    """The metric of each finished trial, 0 where nothing was detected.

    Leaving such a trial out would reward a candidate for the seeds that it fails with.
    """
    return {
        x.trial.seed: 0.0 if x.without_detections else x.metrics.get(metric, math.nan)
        for x in results
        if x.finished
    }


def _estimate(values: tuple[float, ...], divisor: float = 1.0) -> Estimate:
    if not values or any(math.isnan(value) for value in values):
        return Estimate(math.nan, math.nan, ())
    error = statistics.stdev(values) / divisor if len(values) > 1 else math.nan
    return Estimate(statistics.fmean(values), error, values)

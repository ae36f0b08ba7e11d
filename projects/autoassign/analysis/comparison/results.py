"""What the runs have left in their metrics.json."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...runs import Metrics, iterations_done, read_metrics

__all__ = ["Result", "Spread", "class_metrics", "read_result", "read_times", "spread"]


@dataclass
class Result:
    """One run, as far as it has come.

    Attributes:
        name: the config's.
        seed: the run's.
        iterations: those it is to train.
        output_dir: its folder.
        curve: (iterations trained, AP) of each evaluation; AP is NaN without a detection.
        metrics: of the evaluation after the last iteration; empty where there is none yet.
        seconds_per_iteration: median; None before the first ones were timed.
        minutes: of training, without evaluation.
        failed: a training of this command has ended without its metrics.
    """

    name: str
    seed: int
    iterations: int
    output_dir: Path
    curve: list[tuple[int, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds_per_iteration: float | None = None
    minutes: float | None = None
    failed: bool = False

    @property
    def finished(self) -> bool:
        """Whether the evaluation after the last iteration is there."""
        return bool(self.metrics)

    @property
    def without_detections(self) -> bool:
        """Whether nothing was detected at all: no metric of that evaluation is a number."""
        return self.finished and math.isnan(self.metrics["AP"])

    @property
    def status(self) -> str:
        """What became of it: "finished", "failed" or "missing"."""
        if self.finished:
            return "finished"
        return "failed" if self.failed else "missing"


def read_result(
    name: str, seed: int, iterations: int, output_dir: Path, test_datasets: Sequence[str]
) -> Result:
    """Read a run's metrics.json, if it is there; with several test datasets, those of the first.

    Raises:
        ValueError: the file has a broken line.
    """
    result = Result(name, seed, iterations, output_dir)
    path = output_dir / "metrics.json"
    if not path.exists():
        return result
    metrics = read_metrics(path)
    evaluations = metrics.evaluations(test_datasets, iterations)
    result.curve = [(trained, values["AP"]) for trained, values in sorted(evaluations.items())]
    result.metrics = evaluations.get(iterations, {})
    times = _times(metrics)
    if times:
        result.seconds_per_iteration = statistics.median(times)
        trained = iterations_done(metrics.rows[-1], iterations)
        result.minutes = statistics.fmean(times) * trained / 60
    return result


def read_times(output_dir: Path) -> list[float]:
    """Seconds per iteration as detectron2 writes them: medians of up to 20 iterations."""
    path = output_dir / "metrics.json"
    return _times(read_metrics(path)) if path.exists() else []


def _times(metrics: Metrics) -> list[float]:
    return [row["time"] for row in metrics.rows if "time" in row]


def class_metrics(results: Sequence[Result]) -> list[str]:
    """The keys of the AP of each class ("AP-cat"); none where there is one class."""
    return sorted({key for x in results for key in x.metrics if key.startswith("AP-")})


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of a metric over the seeds.

    Attributes:
        mean: NaN where no run is finished, or the data has no such objects.
        deviation: NaN with fewer than two runs.
        values: of each run.
    """

    mean: float
    deviation: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        if math.isnan(self.deviation):
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} ± {self.deviation:.2f}"


def spread(results: Sequence[Result], metric: str) -> Spread:
    """The metric over the finished ones of ``results``; a run without detections counts as 0.

    Leaving such a run out would reward a config for the seeds that it fails with.
    """
    values = tuple(
        0.0 if result.without_detections else result.metrics.get(metric, math.nan)
        for result in results
        if result.finished
    )
    if not values or any(math.isnan(value) for value in values):
        return Spread(math.nan, math.nan, ())
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), deviation, values)

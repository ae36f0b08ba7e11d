"""When a run was made, with what, and how fast."""

from __future__ import annotations

import re
import statistics
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ...runs import TrainedRun
from .markup import Html, Section, count, missing, table

__all__ = ["facts_section"]

# Lines of the table that detectron2 logs at start; a value ends before the folder it is in.
_VERSIONS = (
    "Python",
    "PyTorch",
    "torchvision",
    "detectron2",
    "numpy",
    "CUDA_HOME",
    "GPU available",
)
_ENVIRONMENT_LINE = re.compile(r"^(\S.*?) {2,}(\S.*?)(?: @.*)?$")
_GPU_LINE = re.compile(r"^GPU [\d,]+$")
# TensorBoard's file names hold the second at which they were opened.
_EVENTS_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\.")


def facts_section(run: TrainedRun) -> Section:
    """Detector, iterations, time and versions."""
    log = _log_text(run.folder)
    rows = [*_training_rows(run), *_version_rows(log)]
    body: str = table((), rows)
    if run.metrics.num_torn:
        body += missing(
            f"{count(run.metrics.num_torn, 'line')} of metrics.json cut off, as a killed run "
            "leaves them, and left out."
        )
    if log is None:
        body += missing("The folder has no log.txt, so the versions are not known.")
    return Section("run", "The run", Html(body))


def _training_rows(run: TrainedRun) -> list[tuple[str, str]]:
    cfg = run.cfg
    detector = cfg.MODEL.META_ARCHITECTURE
    if detector == "PointDetector":
        detector += f", label assignment {cfg.MODEL.LABEL_ASSIGNMENT.NAME}"
    trained = run.iterations_done(run.metrics.rows[-1])
    rows = [
        ("detector", detector),
        ("trained on", ", ".join(cfg.DATASETS.TRAIN) or "no dataset is named"),
        ("evaluated on", ", ".join(cfg.DATASETS.TEST) or "no dataset is named"),
        (
            "iterations",
            f"{trained} of {cfg.SOLVER.MAX_ITER}, {count(cfg.SOLVER.IMS_PER_BATCH, 'image')} each",
        ),
    ]
    started = _started(run.folder)
    if started is not None:
        rows.append(("started", f"{started:%Y-%m-%d %H:%M} UTC"))
    times = [row["time"] for row in run.metrics.rows if "time" in row]
    if times:
        seconds = timedelta(seconds=round(statistics.fmean(times) * trained))
        rows.append(("seconds per iteration", f"{statistics.median(times):.3g} (median)"))
        rows.append(("time in iterations", f"{seconds} (evaluation and saving left out)"))
    return rows


def _version_rows(log: str | None) -> list[tuple[str, str]]:
    found = {}
    for line in (log or "").splitlines():
        match = _ENVIRONMENT_LINE.match(line)
        if match and (match[1] in _VERSIONS or _GPU_LINE.match(match[1])):
            found[match[1]] = match[2]  # the last start of a resumed run
    order = [*_VERSIONS, *sorted(key for key in found if key not in _VERSIONS)]
    return [(key, found[key]) for key in order if key in found]


def _log_text(folder: Path) -> str | None:
    path = folder / "log.txt"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _started(folder: Path) -> datetime | None:
    """When the first TensorBoard file was opened."""
    matches = (_EVENTS_NAME.match(path.name) for path in folder.glob("events.out.tfevents.*"))
    seconds = [int(match[1]) for match in matches if match]
    return datetime.fromtimestamp(min(seconds), timezone.utc) if seconds else None

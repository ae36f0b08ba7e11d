"""When a run was made, with what, and how fast."""

from __future__ import annotations

import statistics
from datetime import datetime, timedelta, timezone

from ...runs import TrainedRun

__all__ = ["training_facts", "version_facts"]

# Lines of the table that detectron2 logs at start.
_VERSIONS = (
    *("Python", "PyTorch", "torchvision", "detectron2", "numpy", "CUDA_HOME", "GPU available"),
)


def training_facts(run: TrainedRun) -> dict[str, str]:
    """Detector, data, iterations and time."""
    cfg, rows = run.cfg, run.metrics.rows
    detector = cfg.MODEL.META_ARCHITECTURE
    if detector == "PointDetector":
        detector += f", label assignment {cfg.MODEL.LABEL_ASSIGNMENT.NAME}"
    facts = {
        "detector": detector,
        "trained on": ", ".join(cfg.DATASETS.TRAIN) or "no dataset is named",
        "evaluated on": ", ".join(cfg.DATASETS.TEST) or "no dataset is named",
    }
    if not rows:
        return facts
    done = run.iterations_done(rows[-1])
    facts["iterations"] = f"{done} of {cfg.SOLVER.MAX_ITER}, batch size {cfg.SOLVER.IMS_PER_BATCH}"
    # The names of TensorBoard's files have the second at which they were opened.
    opened = [path.name.split(".")[3] for path in run.folder.glob("events.out.tfevents.*.*")]
    seconds = [int(text) for text in opened if text.isdecimal()]
    if seconds:
        started = datetime.fromtimestamp(min(seconds), timezone.utc)
        facts["started"] = f"{started:%Y-%m-%d %H:%M} UTC"
    times = [row["time"] for row in rows if "time" in row]
    if times:
        total = timedelta(seconds=round(statistics.fmean(times) * done))
        facts["seconds per iteration"] = f"{statistics.median(times):.3g} (median)"
        facts["time in iterations"] = f"{total} (without evaluation and checkpoints)"
    return facts


def version_facts(run: TrainedRun) -> dict[str, str] | None:
    """Versions and GPUs that the last start of the training has logged; None without a log."""
    log = run.folder / "log.txt"
    if not log.is_file():
        return None
    logged = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition("  ")
        if name in _VERSIONS or name.startswith("GPU "):
            logged[name] = value.partition(" @")[0].strip()  # without the folder
    names = [*_VERSIONS, *sorted(logged.keys() - set(_VERSIONS))]
    return {name: logged[name] for name in names if name in logged}

"""The page about a run: one HTML file that needs no other."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from ... import __version__
from ...checkpoint import Strictness
from ...config import replacing
from ...evaluation import METRICS
from ...runs import LoadedDetector, TrainedRun
from ..figures import Lines, assignment_charts, draw_priors, read_priors, training_charts
from .assignment_data import MAX_OBJECTS, assignment_data
from .configuration import changed_options, marked_lines
from .detections import TestDataset, read_ranking, read_test_dataset, scored_image, worst_and_best
from .image_ranking import IOU
from .images import chart_uri, data_uri
from .run_facts import training_facts, version_facts

__all__ = ["write_report"]


@dataclass(frozen=True)
class Missing:
    """Stands for a part of the page that cannot be made."""

    reason: str


def write_report(
    folder: str | Path, path: str | Path, *, num_images: int, opts: Sequence[str] = ()
) -> None:
    """Write an HTML page about a training run.

    Parts that cannot be made are replaced by a sentence that says why.

    Args:
        folder: OUTPUT_DIR of the run, or a weight file.
        path: the file to write or replace.
        num_images: how many of the worst images, of the best, and with their label assignment.
        opts: KEY VALUE or KEY=VALUE, which override the run's config.

    Raises:
        OSError: the folder lacks its config or metrics, or the page cannot be written.
        ValueError: the config, the metrics or an option is wrong.
    """
    run = TrainedRun.read(folder, opts)
    if run.folder.is_dir():
        if not run.metrics_file.is_file():
            raise FileNotFoundError(
                f"{folder} has no metrics.json: it is not a training's OUTPUT_DIR"
            )
        if not run.metrics.rows:
            raise ValueError(f"{run.metrics_file} is empty: the training has logged nothing")
    with replacing(path) as unfinished:
        unfinished.touch()  # fails before the work
        unfinished.write_text(_page(run, num_images), encoding="utf-8")


def _page(run: TrainedRun, num_images: int) -> str:
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "number": _number}
    environment.tests["missing"] = lambda part: isinstance(part, Missing)
    dataset = _attempt(_test_dataset, run)
    detector = _attempt(run.load_detector, Strictness.EXPLANATION)
    changed = changed_options(run)
    return environment.get_template("page.html").render(
        title=run.folder.resolve().name,
        version=__version__,
        date=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        run=run,
        training_facts=training_facts(run),
        version_facts=version_facts(run),
        metrics=list(METRICS),
        # NaN, where nothing was detected, is not above 0.
        best_ap=max((x["AP"] for x in run.evaluations.values() if x["AP"] > 0), default=0.0),
        classes=_class_rows(run, dataset),
        charts=_charts(training_charts(run)),
        assignment_charts=_charts(assignment_charts(run)),
        examples=_attempt(_examples, run, dataset, num_images),
        iou=IOU,
        assignment=_attempt(_assignment, detector, dataset, num_images),
        max_objects=MAX_OBJECTS,
        priors=_attempt(_priors, detector),
        changed=changed,
        config_lines=marked_lines(run.config_text, set(changed)),
    )


def _attempt(make: Callable[..., Any], *args: Any) -> Any:
    """What ``make`` returns; Missing if it cannot be made, or one of the arguments is."""
    for argument in args:
        if isinstance(argument, Missing):
            return argument
    try:
        return make(*args)
    except (OSError, RuntimeError, ValueError) as error:
        return Missing(str(error))


def _test_dataset(run: TrainedRun) -> TestDataset:
    try:
        return read_test_dataset(run)
    except (OSError, ValueError) as error:
        raise ValueError(f"the test dataset cannot be read ({error})") from error


def _class_rows(run: TrainedRun, dataset: TestDataset | Missing) -> list[dict[str, Any]]:
    """Name, AP at the last evaluation and number of objects of each class."""
    if not run.evaluations:
        return []
    counts: Counter[str] = Counter()
    if isinstance(dataset, TestDataset):
        for record in dataset.records:
            for annotation in record.get("annotations", ()):
                if not annotation.get("iscrowd", 0):
                    counts[dataset.class_names[annotation["category_id"]]] += 1
    last = run.evaluations[max(run.evaluations)]
    return [
        {"name": name, "ap": last[f"AP-{name}"], "objects": counts[name] if counts else None}
        for name in sorted(key.removeprefix("AP-") for key in last if key.startswith("AP-"))
    ]


def _charts(charts: dict[str, Lines]) -> list[dict[str, str]]:
    return [
        {
            "title": title,
            "text": f"{title} over the iterations; last values: {', '.join(lines)}",
            "picture": chart_uri(lines, (0, 100) if title == "AP" else None) if lines else "",
        }
        for title, lines in charts.items()
    ]


def _examples(run: TrainedRun, dataset: TestDataset, num_images: int) -> dict[str, Any]:
    ranking = read_ranking(run, dataset)
    if not ranking.images:
        raise ValueError("no image has an object or a detection")
    return {
        "dataset": dataset.name,
        "threshold": ranking.threshold,
        "num_unranked": ranking.num_unranked,
        "groups": {
            heading: [scored_image(image, dataset.class_names) for image in images]
            for heading, images in worst_and_best(ranking, num_images).items()
        },
    }


def _assignment(detector: LoadedDetector, dataset: TestDataset, num_images: int) -> dict[str, Any]:
    images, scale = assignment_data(detector, dataset.records, num_images)
    return {
        "strategy": detector.strategy,
        "weights": Path(detector.weights).name,
        "num_images": len(images),
        "scale": scale,
        "json": htmlsafe_json_dumps({"images": images}, allow_nan=False),
    }


def _priors(detector: LoadedDetector) -> dict[str, Any]:
    priors = read_priors(detector.model.label_assignment, detector.class_names)
    with tempfile.TemporaryDirectory() as folder:
        pictures = [path.read_bytes() for path in draw_priors(priors, folder)]
    return {
        "pictures": [data_uri(picture, "image/png") for picture in pictures],
        "rows": [prior.row for prior in priors],
    }


def _number(value: float | None, digits: int = 1) -> str:
    """A number for a table; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _count(number: int, noun: str) -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

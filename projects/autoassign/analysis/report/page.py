"""The page: its sections in their order, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TypeVar

from ... import __version__
from ...checkpoint import Strictness
from ...runs import LoadedDetector, TrainedRun
from .assignments import assignment_section
from .average_precision import ap_section
from .configuration import configuration_section
from .curves import curves_section
from .dataset import read_dataset, read_ranking
from .examples import examples_section
from .facts import facts_section
from .markup import Section
from .prior import prior_section

__all__ = ["write_report"]

_T = TypeVar("_T")

# What detectron2 and torch raise of a model that cannot be built.
_BUILD_ERRORS = (AssertionError, ImportError, LookupError, RuntimeError, TypeError)


def write_report(
    folder: str | Path, path: str | Path, *, num_images: int, opts: Sequence[str] = ()
) -> None:
    """Write an HTML page about a training run.

    Parts that cannot be shown are replaced by a sentence that says why.

    Args:
        folder: OUTPUT_DIR of the run.
        path: the file to write; one that is there is replaced.
        num_images: how many of the worst, of the best, and of images with their assignment.
        opts: KEY VALUE pairs that override the run's config.

    Raises:
        OSError: the folder lacks its config or metrics, or the page cannot be written.
        ValueError: the config, the metrics or an option is wrong.
    """
    run = TrainedRun.read(folder, opts)
    if not run.metrics_file.is_file():
        raise FileNotFoundError(f"{folder} has no metrics.json: it is not a training's OUTPUT_DIR")
    if not run.metrics.rows:
        raise ValueError(f"{run.metrics_file} is empty: the training has logged nothing")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)  # early, as it may fail
    path.write_text(_page(run, _sections(run, num_images)), encoding="utf-8")


def _sections(run: TrainedRun, num_images: int) -> list[Section]:
    dataset, no_dataset = _attempt(lambda: read_dataset(run))
    records = dataset.records if dataset else []
    if dataset:
        ranking, no_ranking = _attempt(lambda: read_ranking(run, dataset))
    else:
        ranking, no_ranking = None, f"the test dataset cannot be read ({no_dataset})"
    subject, no_subject = _attempt(lambda: _load_subject(run))
    no_assignment = no_subject or f"the test dataset cannot be read ({no_dataset})"
    return [
        facts_section(run),
        ap_section(run, records, dataset.class_names if dataset else []),
        curves_section(run),
        examples_section(dataset, ranking, no_ranking, num_images),
        assignment_section(subject, records, no_assignment, num_images),
        prior_section(subject, no_subject),
        configuration_section(run),
    ]


def _attempt(read: Callable[[], _T]) -> tuple[_T | None, str]:
    """What was read and "", or None and the reason."""
    try:
        return read(), ""
    except (OSError, ValueError) as error:
        return None, str(error)


def _load_subject(run: TrainedRun) -> LoadedDetector:
    detector = run.cfg.MODEL.META_ARCHITECTURE
    if detector != "PointDetector":
        raise ValueError(f"{detector} has no label assignment of this project")
    try:
        return run.load_detector(Strictness.EXPLANATION)
    except _BUILD_ERRORS as error:
        raise ValueError(f"the detector cannot be built: {error}") from error


def _page(run: TrainedRun, sections: Sequence[Section]) -> str:
    files = resources.files(__package__)
    navigation = "".join(
        f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections
    )
    body = "".join(
        f'<section id="{section.anchor}"><h2>{escape(section.title)}</h2>{section.body}</section>'
        for section in sections
    )
    return Template((files / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(run.folder.resolve().name),
        style=(files / "page.css").read_text(encoding="utf-8"),
        script=(files / "page.js").read_text(encoding="utf-8"),
        navigation=navigation,
        sections=body,
        version=escape(__version__),
        date=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
    )

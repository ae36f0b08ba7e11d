"""Images per second of the training loader, beside detectron2's and beside decoding alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import cv2
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.modeling import build_model

from ...data import build_train_augmentations
from ...engine import Trainer
from .steps import StepRow, time_training

__all__ = ["LoadingRow", "measure_loading", "time_model"]

_WARM_UP_SECONDS = 20.0


@dataclass(frozen=True)
class LoadingRow:
    """One way to load the images of training.

    Attributes:
        name: what has been measured.
        images_per_second: median over the rounds.
        spread: least and greatest images per second of a round.
        ratio: median over the rounds of its images per second by those of detectron2's loader.
    """

    name: str
    images_per_second: float
    spread: tuple[float, float]
    ratio: float


def measure_loading(cfg: CfgNode, *, rounds: int = 5, seconds: float = 2.0) -> list[LoadingRow]:
    """Measure the loader of training, detectron2's, and decoding alone, alternating in one run.

    detectron2's loader has the datasets, augmentations and processes of the config, but neither
    FAST_MAPPER nor mosaic and mixup. Decoding alone reads and decodes whole files by OpenCV in as
    many processes. All start over the images once before the measurement.

    Args:
        cfg: the config, its datasets registered.
        rounds: of all three.
        seconds: that each is measured in a round.
    """
    loaders = {
        "this loader": Trainer.build_train_loader(cfg),
        "detectron2's": build_detection_train_loader(
            cfg,
            mapper=DatasetMapper(
                True, augmentations=build_train_augmentations(cfg), image_format=cfg.INPUT.FORMAT
            ),
        ),
        "decoding alone": build_detection_train_loader(cfg, mapper=_decode),
    }
    batches = {name: iter(loader) for name, loader in loaders.items()}
    num_images = len(build_detection_train_loader.from_config(cfg, mapper=_decode)["dataset"])
    for waiting in batches.values():
        _take(waiting, _WARM_UP_SECONDS, at_most=num_images)
    # Batches that loading processes have prepared while others were measured do not count.
    prepared = 2 * cfg.DATALOADER.NUM_WORKERS * cfg.SOLVER.IMS_PER_BATCH
    rates: dict[str, list[float]] = {name: [] for name in batches}
    for _ in range(rounds):
        for name, waiting in batches.items():
            _take(waiting, float("inf"), at_most=prepared)
            rates[name].append(_take(waiting, seconds))
    baseline = rates["detectron2's"]
    return [
        LoadingRow(
            name=name,
            images_per_second=median(of_rounds),
            spread=(min(of_rounds), max(of_rounds)),
            ratio=median(a / b for a, b in zip(of_rounds, baseline, strict=True)),
        )
        for name, of_rounds in rates.items()
    ]


def time_model(cfg: CfgNode, *, rounds: int = 5) -> StepRow:
    """Time training steps of the config's model on a batch of its loader."""
    batch = next(iter(Trainer.build_train_loader(cfg)))
    [row] = time_training({"the model": build_model(cfg)}, batch, rounds=rounds)
    return row


def _decode(record: dict[str, Any]) -> dict[str, Any]:
    cv2.imread(record["file_name"])
    # What detectron2's loader groups images by.
    return {"width": record["width"], "height": record["height"]}


def _take(
    batches: Iterator[list[dict[str, Any]]], seconds: float, at_most: float = float("inf")
) -> float:
    """Take batches until the time is over or the images suffice; returns images per second."""
    taken, elapsed = 0, 0.0
    start = time.perf_counter()
    while elapsed < seconds and taken < at_most:
        taken += len(next(batches))
        elapsed = time.perf_counter() - start
    return taken / elapsed if elapsed else 0.0

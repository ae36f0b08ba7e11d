"""Scores before NMS with and without the objectness factor (AutoAssign's Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...modeling import Grid, PointDetector, check_finite, predict, rgb_image
from .map_rows import MapRow, map_rows_figure
from .overlays import whole
from .style import literal, save_figure

__all__ = ["draw_objectness", "score_rows"]


def draw_objectness(rows: list[MapRow], title: str, path: str | Path) -> None:
    """Draw the rows that :func:`score_rows` returns, as a PNG."""
    save_figure(map_rows_figure(rows, title), path)


@torch.no_grad()
def score_rows(
    model: PointDetector,
    batched_input: Mapping[str, Any],
    class_name: str = "any class",
    *,
    class_index: int | None = None,
    input_format: str = "BGR",
) -> list[MapRow]:
    """Scores without objectness, objectness, and the scores that detections are chosen by.

    Args:
        model: a detector with objectness; it is left as it was.
        batched_input: ``image``, (3, H, W).
        class_name: whose scores they are, for the rows' labels.
        class_index: of that class; None for the greatest score of any class.
        input_format: order of the image's channels, ``INPUT.FORMAT``.

    Raises:
        ValueError: the model predicts no objectness, or a score is not finite.
    """
    predictions, grid = predict(model, batched_input)
    if predictions.obj_logits is None:
        raise ValueError(
            "the detector predicts no objectness (MODEL.POINT_HEAD.OBJECTNESS is 'none')"
        )
    check_finite("class score", predictions.cls_logits)
    check_finite("objectness", predictions.obj_logits)
    scores = model.label_assignment.scores
    without = _of_class(scores(replace(predictions, obj_logits=None)), class_index)
    combined = _of_class(scores(predictions), class_index)
    greatest = float(max(without.max(), combined.max()))
    image, name = rgb_image(batched_input["image"], input_format), literal(class_name)
    return [
        _row(f"score of {name}\nwithout objectness", image, grid, without, greatest),
        _row("objectness", image, grid, predictions.obj_logits[0].sigmoid(), 1.0),
        _row(f"score of {name}\nwith objectness", image, grid, combined, greatest),
    ]


def _of_class(scores: Tensor, class_index: int | None) -> Tensor:
    """(R,) of (1, R, K) scores: of one class, or the greatest of any."""
    return scores[0].amax(dim=1) if class_index is None else scores[0, :, class_index]


def _row(label: str, image: np.ndarray, grid: Grid, values: Tensor, greatest: float) -> MapRow:
    levels = zip(grid.strides, grid.sizes, values.split(grid.level_lengths), strict=True)
    return MapRow(
        label=label,
        image=image,
        region=whole(image),
        offset=grid.offset,
        levels={stride: level.view(size).cpu().numpy() for stride, size, level in levels},
        greatest=greatest,
    )

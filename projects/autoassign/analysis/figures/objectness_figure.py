"""Scores before NMS with and without the objectness factor (AutoAssign's Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...modeling import Grid, PointDetector, check_finite, predict, rgb_image
from .heat import draw_heat, draw_image, whole

__all__ = ["ScoreMaps", "draw_objectness", "score_maps"]

_DPI = 130
_CELL_INCHES = 2.1


@dataclass(frozen=True)
class ScoreMaps:
    """Scores of one image on every level, finest first; each map is a list of (Hi, Wi) arrays.

    Attributes:
        image: (H, W, 3) uint8, RGB, the network's input without padding.
        strides: stride of each level in pixels.
        offset: place of each level's first location, in strides.
        without: the scores without objectness.
        objectness: the objectness.
        combined: the scores that detections are chosen by.
    """

    image: np.ndarray
    strides: tuple[int, ...]
    offset: float
    without: list[np.ndarray]
    objectness: list[np.ndarray]
    combined: list[np.ndarray]


@torch.no_grad()
def score_maps(
    model: PointDetector,
    batched_input: Mapping[str, Any],
    *,
    class_index: int | None = None,
    input_format: str = "BGR",
) -> ScoreMaps:
    """The score maps of one image.

    Args:
        model: a detector with objectness; it is left as it was.
        batched_input: ``image``, (3, H, W).
        class_index: the class whose scores are wanted; None: the greatest score of any class.
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
    return ScoreMaps(
        image=rgb_image(batched_input["image"], input_format),
        strides=grid.strides,
        offset=grid.offset,
        without=_levels(scores(replace(predictions, obj_logits=None)), class_index, grid),
        objectness=_levels(predictions.obj_logits.sigmoid()[..., None], None, grid),
        combined=_levels(scores(predictions), class_index, grid),
    )


def _levels(scores: Tensor, class_index: int | None, grid: Grid) -> list[np.ndarray]:
    """(Hi, Wi) scores at each level of (1, R, K) scores: of one class, or the greatest of any."""
    flat = scores[0].amax(dim=1) if class_index is None else scores[0, :, class_index]
    levels = flat.split(grid.level_lengths)
    return [x.view(size).cpu().numpy() for x, size in zip(levels, grid.sizes, strict=True)]


def draw_objectness(maps: ScoreMaps, title: str, score: str, path: str | Path) -> None:
    """Draw the maps as a PNG: a row each, a column for each level; scores share one scale.

    Args:
        maps: what is drawn.
        title: heading of the picture.
        score: what the scores are of, "any class" or the name of one.
        path: the file to write.
    """
    rows: Sequence[tuple[str, list[np.ndarray], float]]
    greatest = max(float(level.max()) for level in (*maps.without, *maps.combined))
    rows = [
        (f"score of {score}\nwithout objectness", maps.without, greatest),
        ("objectness", maps.objectness, 1.0),
        (f"score of {score}\nwith objectness", maps.combined, greatest),
    ]
    region = whole(maps.image)
    cell_height = _CELL_INCHES * region.height_over_width
    figure = Figure(
        figsize=(len(maps.strides) * (_CELL_INCHES + 0.1) + 1.0, 3 * (cell_height + 0.1) + 0.6),
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(len(rows), len(maps.strides), squeeze=False)
    for row_panels, (label, levels, scale) in zip(panels, rows, strict=True):
        row_panels[0].set_ylabel(label, fontsize=9)
        for axes, level, stride in zip(row_panels, levels, maps.strides, strict=True):
            draw_image(axes, maps.image, region)
            heat = draw_heat(axes, level, stride, maps.offset, scale)
        bar = figure.colorbar(heat, ax=row_panels, aspect=14, pad=0.02)
        bar.ax.tick_params(labelsize=7)
    for axes, stride in zip(panels[0], maps.strides, strict=True):
        axes.set_title(f"stride {stride}", fontsize=9)
    figure.savefig(path, dpi=_DPI)

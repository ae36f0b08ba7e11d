"""Heat maps of pyramid levels over an image; the coordinates of all axes are its pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ...modeling.explanation import Peak

__all__ = [
    "COLORMAP",
    "Region",
    "draw_box",
    "draw_heat",
    "draw_image",
    "draw_peak",
    "region_of",
    "whole",
]

COLORMAP = "viridis"
_HEAT_ALPHA = 0.7
_BOX_COLOUR = "#ff5a36"
# Share of the box's longer side that is shown around it, and the least region in finest strides.
_MARGIN = 0.2
_LEAST_STRIDES = 6
# Of the two sides of a region.
_LEAST_RATIO = 0.75
# Least and greatest height of a cell, in widths.
_CELL_RATIOS = (0.5, 2.5)


class Region(NamedTuple):
    """A part of an image, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def height_over_width(self) -> float:
        """The shape of a cell that shows the region: with margins where that is very long."""
        ratio = (self.y1 - self.y0) / (self.x1 - self.x0)
        return min(max(ratio, _CELL_RATIOS[0]), _CELL_RATIOS[1])


def whole(image: np.ndarray) -> Region:
    """All of an (H, W, 3) image."""
    return Region(0, 0, image.shape[1], image.shape[0])


def region_of(image: np.ndarray, box: np.ndarray, finest_stride: int) -> Region:
    """The part of the image around a box (xyxy) in which its levels can be made out."""
    bounds = np.array(image.shape[1::-1], float)
    margin = _MARGIN * max(box[2] - box[0], box[3] - box[1]) + finest_stride
    low = np.clip(box[:2] - margin, 0, bounds)
    high = np.clip(box[2:] + margin, 0, bounds)
    size = np.maximum(high - low, _LEAST_STRIDES * finest_stride)
    size = np.minimum(np.maximum(size, _LEAST_RATIO * size.max()), bounds)
    # What is enlarged is moved into the image where it sticks out.
    low = np.clip((low + high - size) / 2, 0, bounds - size)
    return Region(*low.tolist(), *(low + size).tolist())


def draw_image(axes: Axes, image: np.ndarray, region: Region, *, grey: bool = True) -> None:
    """Show this part of an RGB image, pale and grey if heat is to lie on it."""
    height, width = image.shape[:2]
    if grey:
        image = 70 + 0.7 * image.mean(axis=2)
    # Pixel i extends from i to i + 1.
    extent = (0, width, height, 0)
    axes.imshow(image, extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set(xlim=(region.x0, region.x1), ylim=(region.y1, region.y0), xticks=[], yticks=[])
    axes.spines[:].set_linewidth(0.5)


def draw_heat(
    axes: Axes, level: np.ndarray, stride: int, offset: float, greatest: float
) -> AxesImage:
    """Lay the (Hi, Wi) values of a level over the image, each a square around its location.

    Args:
        axes: with the image and its limits.
        level: the values, 0 or more; NaN is left free.
        stride: of the level in pixels.
        offset: of its first location, in strides.
        greatest: the value of the brightest colour.
    """
    limits = axes.get_xlim(), axes.get_ylim()
    height, width = level.shape
    left = top = (offset - 0.5) * stride
    heat = axes.imshow(
        np.ma.masked_invalid(level),
        extent=(left, left + width * stride, top + height * stride, top),
        cmap=COLORMAP,
        vmin=0,
        vmax=greatest if greatest > 0 else 1,
        alpha=_HEAT_ALPHA,
        interpolation="nearest",
    )
    axes.set(xlim=limits[0], ylim=limits[1])
    return heat


def draw_box(axes: Axes, box: np.ndarray) -> None:
    """Outline a box (xyxy)."""
    x0, y0, x1, y1 = box.tolist()
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=_BOX_COLOUR, linewidth=1.5)
    )


def draw_peak(axes: Axes, peak: Peak) -> None:
    """Mark the location of the greatest weight by a cross."""
    outline = [withStroke(linewidth=3.5, foreground="black")]
    axes.plot(
        peak.x, peak.y, "+", color="white", markersize=9, markeredgewidth=1.6,
        path_effects=outline, clip_on=True,
    )  # fmt: skip

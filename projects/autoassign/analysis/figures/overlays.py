"""Heat maps, boxes and marks drawn over an image; the coordinates of all axes are its pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ...modeling import Peak
from .style import COLORMAP

__all__ = ["Region", "draw_box", "draw_heat", "draw_image", "draw_peak", "region_around", "whole"]


class Region(NamedTuple):
    """A part of an image, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def height_over_width(self) -> float:
        """The shape of a cell for the region; bounded, a very long region gets margins."""
        return float(np.clip((self.y1 - self.y0) / (self.x1 - self.x0), 0.5, 2.5))


def whole(image: np.ndarray) -> Region:
    """All of an (H, W, 3) image."""
    return Region(0, 0, image.shape[1], image.shape[0])


def region_around(box: np.ndarray, image: np.ndarray, finest_stride: int) -> Region:
    """The part of an (H, W, 3) image around a box (xyxy) at which its levels can be told apart.

    It has a fifth of the box's longer side as a margin, at least 6 locations of the finest level
    in each direction, and sides that do not differ by more than a quarter, within the image.
    """
    bounds = np.array(image.shape[1::-1], float)
    margin = 0.2 * max(box[2] - box[0], box[3] - box[1]) + finest_stride
    low = np.clip(box[:2] - margin, 0, bounds)
    high = np.clip(box[2:] + margin, 0, bounds)
    size = np.maximum(high - low, 6 * finest_stride)
    size = np.minimum(np.maximum(size, 0.75 * size.max()), bounds)
    # Move the enlarged region into the image.
    low = np.clip((low + high - size) / 2, 0, bounds - size)
    return Region(*low.tolist(), *(low + size).tolist())


def draw_image(axes: Axes, image: np.ndarray, region: Region, *, grey: bool = True) -> None:
    """Draw a part of an RGB image; pale and grey below a heat map."""
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
    """Draw the (Hi, Wi) values of a level over the image, each as a square around its location.

    Args:
        axes: that :func:`draw_image` has drawn on, which has fixed the limits.
        level: the values, at least 0; NaN is transparent.
        stride: of the level in pixels.
        offset: place of its first location, in strides.
        greatest: the value of the brightest color.
    """
    height, width = level.shape
    left = top = (offset - 0.5) * stride
    return axes.imshow(
        level,
        extent=(left, left + width * stride, top + height * stride, top),
        cmap=COLORMAP,
        vmin=0,
        vmax=greatest if greatest > 0 else 1,
        alpha=0.7,
        interpolation="nearest",
    )


def draw_box(axes: Axes, box: np.ndarray) -> None:
    """Outline a box (xyxy)."""
    x0, y0, x1, y1 = box.tolist()
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="#ff5a36", linewidth=1.5)
    )


def draw_peak(axes: Axes, peak: Peak) -> None:
    """Mark the location of the greatest weight by a cross."""
    outline = [withStroke(linewidth=3.5, foreground="black")]
    axes.plot(
        peak.x, peak.y, "+", color="white", markersize=9, markeredgewidth=1.6,
        path_effects=outline, clip_on=True,
    )  # fmt: skip

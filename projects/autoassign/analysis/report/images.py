"""Pictures inside the page."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ..figures import Lines, plot_lines

__all__ = ["chart_uri", "data_uri", "jpeg_uri"]


def data_uri(content: bytes, media_type: str) -> str:
    """The content as an address of its own."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def jpeg_uri(image: np.ndarray, max_side: int) -> str:
    """The data URI of an RGB image (H, W, 3), uint8, scaled down to ``max_side`` if larger."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    _, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data_uri(buffer.tobytes(), "image/jpeg")


def chart_uri(lines: Lines, limits: tuple[float, float] | None = None) -> str:
    """The data URI of a line chart over the iterations, as SVG without a background."""
    figure = Figure(figsize=(4.6, 2.5 + 0.2 * -(-len(lines) // 2)), layout="constrained")
    panel = figure.subplots()
    plot_lines(panel, lines)
    panel.set(xlabel="iteration", ylim=limits)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}):  # text as text
        figure.savefig(buffer, format="svg", transparent=True)
    return data_uri(buffer.getvalue(), "image/svg+xml")

"""A picture of images with their ground truth beside a detector's predictions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from detectron2.data import Metadata
from detectron2.data import detection_utils as utils
from detectron2.structures import BoxMode
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import literal, save_figure

__all__ = ["draw_prediction_grid"]

_IMAGES_PER_ROW = 2  # each with two cells: ground truth and prediction
_CELL_INCHES = 2.6
_TITLE_INCHES = 0.25
_MAX_HEIGHT_OVER_WIDTH = 3.0  # of a row; taller images are drawn smaller


def draw_prediction_grid(
    records: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    metadata: Metadata,
    path: str | Path,
    *,
    num_images: int = 8,
    score_thresh: float = 0.4,
) -> None:
    """Draw the first images of a dataset as a PNG, each with ground truth beside predictions.

    Args:
        records: dataset dicts in detectron2's standard format.
        results: detections in COCO's result format (``image_id``, ``category_id`` of the dataset,
            ``bbox`` as absolute XYWH, ``score``), as detectron2's COCOEvaluator writes them.
        metadata: of the dataset, with ``thing_classes`` and, unless the dataset's category ids are
            0, 1, 2 ..., ``thing_dataset_id_to_contiguous_id``.
        path: the file to write.
        num_images: the number of images, at most.
        score_thresh: predictions with a lower score are not drawn.

    Raises:
        ValueError: there is nothing to draw.
    """
    records = records[:num_images]
    if not records:
        raise ValueError(f"no images to draw: {num_images=}, and the dataset may be empty")
    contiguous_ids = metadata.get("thing_dataset_id_to_contiguous_id")
    classes = metadata.thing_classes
    colors = _class_colors(len(classes))
    results_per_image = defaultdict(list)
    for result in sorted(results, key=lambda result: result["score"]):
        if result["score"] >= score_thresh:
            results_per_image[result["image_id"]].append(result)

    tallest = max(record["height"] / record["width"] for record in records)
    tallest = min(tallest, _MAX_HEIGHT_OVER_WIDTH)
    figure, cells = _empty_grid(len(records), tallest)
    for (truth_cell, prediction_cell), record in zip(cells, records, strict=False):
        image = utils.read_image(record["file_name"], format="RGB")
        for cell in (truth_cell, prediction_cell):
            cell.imshow(image, interpolation="bicubic")
        for annotation in record["annotations"]:
            box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYWH_ABS)
            category = annotation["category_id"]
            _draw_box(truth_cell, box, classes[category], colors[category])
        for result in results_per_image[record["image_id"]]:
            category = result["category_id"]
            if contiguous_ids is not None:
                category = contiguous_ids[category]
            label = f"{classes[category]} {result['score']:.2f}"
            _draw_box(prediction_cell, result["bbox"], label, colors[category])
    save_figure(figure, path, bbox_inches="tight", pad_inches=0.06)


def _empty_grid(num_images: int, height_over_width: float) -> tuple[Figure, np.ndarray]:
    """A figure and its (images, 2) axes; one row of them may be unused."""
    per_row = min(_IMAGES_PER_ROW, num_images)
    rows = -(-num_images // per_row)
    height = rows * _CELL_INCHES * height_over_width
    figure = Figure(figsize=(2 * per_row * _CELL_INCHES, height + _TITLE_INCHES))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    axes = figure.subplots(rows, 2 * per_row, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
        cell.set_anchor("N")  # images of different heights are aligned at the top
    for column, cell in enumerate(axes[0]):
        cell.set_title("prediction" if column % 2 else "ground truth", fontsize=11)
    return figure, axes.reshape(-1, 2)


def _class_colors(num_classes: int) -> np.ndarray:
    """(num_classes, 4) RGBA: distinct colors, dark enough for white text."""
    if num_classes <= 8:
        return matplotlib.colormaps["Dark2"](np.arange(num_classes))
    return matplotlib.colormaps["turbo"](np.linspace(0, 1, num_classes)) * [0.8, 0.8, 0.8, 1]


def _draw_box(cell: Axes, box: Sequence[float], label: str, color: np.ndarray) -> None:
    """Draw a labelled box (XYWH, pixels of the image the cell shows)."""
    x, y, width, height = box
    # Pixel i of a drawn image extends from i - 0.5 to i + 0.5.
    x, y = x - 0.5, y - 0.5
    cell.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=1.6))
    # Text runs towards the middle, so that it stays within the image.
    image_width, image_bottom = cell.get_xlim()[1], cell.get_ylim()[0]
    at_right = x + width / 2 > image_width / 2
    above = y > 0.07 * image_bottom
    cell.text(
        x + width if at_right else x,
        y,
        literal(label),
        fontsize=7,
        color="white",
        horizontalalignment="right" if at_right else "left",
        verticalalignment="bottom" if above else "top",
        bbox={"facecolor": color, "edgecolor": "none", "pad": 0.8},
    )

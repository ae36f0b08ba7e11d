"""The images that went worst and best, with ground truth and detections."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from detectron2.data import detection_utils

from .dataset import DatasetOfRun
from .markup import Html, Section, jpeg, missing
from .matching import IOU
from .ranking import ImageScore, Ranking

__all__ = ["examples_section"]

_MAX_SIDE = 560  # pixels of an embedded image
_LETTER_WIDTH = 0.58  # of the size of the letters, about


def examples_section(
    dataset: DatasetOfRun | None, ranking: Ranking | None, why: str, num_images: int
) -> Section:
    """The worst and the best images.

    Args:
        dataset: the test dataset; None if it cannot be read.
        ranking: its images; None if there are no detections.
        why: the reason where one of them is None.
        num_images: so many of the worst and of the best.
    """
    title = "Worst and best images"
    if dataset is None or ranking is None:
        return Section("examples", title, missing(f"No images are ranked: {why}."))
    if not ranking.images:
        return Section("examples", title, missing("No image has an object or a detection."))
    # In a small dataset no image is shown as both.
    num_worst = min(num_images, (len(ranking.images) + 1) // 2)
    worst = ranking.images[:num_worst]
    best = ranking.images[num_worst:][-num_images:][::-1]
    unranked = ""
    if ranking.num_unranked:
        unranked = (
            f" {ranking.num_unranked} images without an object and without such a detection are "
            "not ranked."
        )
    body = (
        f"<p>Images of {escape(dataset.name)} are ranked by F1 = 2 · found / "
        f"(2 · found + missed + wrong). An object is found by a detection of its class at an IoU "
        f"of at least {IOU}, matched as COCO's evaluation does. Only detections with a score of "
        f"at least {ranking.threshold:.3f} count and are drawn: with this threshold the F1 over "
        f"the whole dataset is greatest. Of equal F1, more errors rank as worse, and more objects "
        f"found as better.{unranked}</p>"
        '<ul class="legend"><li class="found"><span class="key"></span>found, right</li>'
        '<li class="missed"><span class="key"></span>missed</li>'
        '<li class="wrong"><span class="key"></span>wrong</li>'
        '<li class="crowd"><span class="key"></span>crowd, or in one: not counted</li></ul>'
    )
    for heading, images in (("Worst", worst), ("Best", best)):
        if images:
            figures = "".join(
                _figure(image, dataset, f"{heading.lower()}{number}")
                for number, image in enumerate(images)
            )
            body += f'<h3>{heading}</h3><div class="examples">{figures}</div>'
    return Section("examples", title, Html(body))


def _figure(score: ImageScore, dataset: DatasetOfRun, identifier: str) -> str:
    name = escape(Path(score.record["file_name"]).name)
    try:
        image = detection_utils.read_image(score.record["file_name"], format="RGB")
    except OSError as error:
        return f"<figure><figcaption>{name}</figcaption>{missing(str(error))}</figure>"
    height, width = image.shape[:2]
    names = dataset.class_names
    truth = [
        (
            x.box,
            names[x.class_index],
            "crowd" if not x.counted else "found" if x.found else "missed",
        )
        for x in score.objects
    ]
    detections = [
        (
            x.box,
            f"{names[x.class_index]} {x.score:.2f}",
            "crowd" if not x.counted else "found" if x.right else "wrong",
        )
        for x in score.detections
    ]
    found, missed, wrong = score.counts
    picture = (
        f'<image id="{identifier}" href="{jpeg(image, _MAX_SIDE)}" width="{width}" '
        f'height="{height}"/>'
    )
    again = f'<use href="#{identifier}"/>'
    return (
        f"<figure><figcaption><b>{name}</b> F1 {score.f1:.2f}: {found} found, {missed} missed, "
        f'{wrong} wrong</figcaption><div class="pair">'
        f"{_picture('ground truth', picture, truth, width, height)}"
        f"{_picture('detections', again, detections, width, height)}</div></figure>"
    )


def _picture(
    label: str,
    image: str,
    boxes: Sequence[tuple[Sequence[float], str, str]],
    width: int,
    height: int,
) -> str:
    """An image under its boxes (x, y, width, height), each with a text and a class of colour."""
    size = max(width, height) / 28
    shapes = []
    taken: list[tuple[float, float, float]] = []
    for (x, y, box_width, box_height), text, kind in boxes:
        shapes.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{box_width:.1f}" '
            f'height="{box_height:.1f}"/>'
        )
        # The text grows towards the middle, so that it does not leave the image.
        at_right = x + box_width / 2 > width / 2
        length = _LETTER_WIDTH * size * len(text)
        left = x + box_width - length if at_right else x
        bottom = _free_line(left, length, (y, y + box_height), size, height, taken)
        taken.append((left, length, bottom))
        shapes.append(
            f'<text x="{x + box_width if at_right else x:.1f}" y="{bottom - 0.25 * size:.1f}" '
            f'font-size="{size:.1f}" stroke-width="{size / 4:.1f}" '
            f'text-anchor="{"end" if at_right else "start"}">{escape(text)}</text>'
        )
    shapes.sort(key=lambda shape: shape.startswith("<text"))  # no box over a text
    description = f"{label}: {', '.join(text for _, text, _ in boxes) or 'none'}"
    return (
        f'<div><span>{label}</span><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(description)}">{image}{"".join(shapes)}</svg></div>'
    )


def _free_line(
    left: float,
    length: float,
    box: tuple[float, float],
    size: float,
    image_height: int,
    taken: Sequence[tuple[float, float, float]],
) -> float:
    """Where a text's line ends: above its box, inside at the top, below, or inside at the bottom.

    Args:
        left: where the text begins.
        length: of the text.
        box: top and bottom of its box.
        size: height of the text's line is 1.25 of it.
        image_height: height of the image.
        taken: (left, length, bottom) of the texts that are there.
    """
    line = 1.25 * size
    top, bottom = box
    places = [y for y in (top, top + line, bottom + line, bottom) if line <= y <= image_height]
    for place in places:
        if not any(
            abs(place - other) < line and left < start + span and start < left + length
            for start, span, other in taken
        ):
            return place
    return places[0] if places else top + line

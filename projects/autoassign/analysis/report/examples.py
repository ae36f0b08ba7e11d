"""The images that went worst and best, with ground truth and detections."""

from __future__ import annotations

from html import escape
from pathlib import Path

from detectron2.data import detection_utils

from .box_picture import LabelledBox, box_picture
from .dataset import DatasetOfRun
from .markup import Html, Section, count, jpeg, missing
from .matching import IOU
from .ranking import ImageScore, Ranking

__all__ = ["examples_section"]

_MAX_SIDE = 560  # pixels of an embedded image


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
        return Section("examples", title, missing(f"No images are ranked: {why}"))
    if not ranking.images:
        return Section("examples", title, missing("No image has an object or a detection."))
    # In a small dataset no image is shown as both.
    num_worst = min(num_images, (len(ranking.images) + 1) // 2)
    worst = ranking.images[:num_worst]
    best = ranking.images[num_worst:][-num_images:][::-1]
    unranked = ""
    if ranking.num_unranked:
        unranked = (
            f" Not ranked: {count(ranking.num_unranked, 'image')} without an object and without "
            "such a detection."
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
        '<p class="note">A label that finds no room is shortened or left out; point at its box to '
        "read it.</p>"
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
        LabelledBox(
            box=x.box,
            name=names[x.class_index],
            score="",
            kind="crowd" if not x.counted else "found" if x.found else "missed",
        )
        for x in score.objects
    ]
    detections = [
        LabelledBox(
            box=x.box,
            name=names[x.class_index],
            score=f"{x.score:.2f}",
            kind="crowd" if not x.counted else "found" if x.right else "wrong",
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
        f"{box_picture('ground truth', picture, truth, width, height)}"
        f"{box_picture('detections', again, detections, width, height)}</div></figure>"
    )

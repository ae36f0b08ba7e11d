"""A picture under its boxes, each with a label that covers no other one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .markup import Html

__all__ = ["LabelledBox", "box_picture"]

_LINES = 28  # of labels would fill the longer side of a picture
_LINE_HEIGHT = 1.25  # of the size of the letters


class LabelledBox(NamedTuple):
    """A box on a picture.

    Attributes:
        box: x, y, width and height in pixels of the image.
        name: of its class; shortened where there is no room.
        score: follows the name, never shortened; may be "".
        kind: the class of its colour in the style sheet.
    """

    box: tuple[float, ...]
    name: str
    score: str
    kind: str

    @property
    def text(self) -> str:
        """The whole label."""
        return f"{self.name} {self.score}".rstrip()


class _Place(NamedTuple):
    """Where a label is, in pixels: its left end, its length and the bottom of its line."""

    left: float
    length: float
    bottom: float


def box_picture(
    title: str, image: str, boxes: Sequence[LabelledBox], width: int, height: int
) -> Html:
    """An image with boxes.

    A label for which there is no free line at its box or inside it is left out; pointing at the
    box shows every label as a whole.

    Args:
        title: above the picture.
        image: the SVG element.
        boxes: the first ones have the first choice of a place.
        width: of the image in pixels.
        height: of the image in pixels.
    """
    size = max(width, height) / _LINES
    rectangles, labels = [], []
    taken: list[_Place] = []
    for shown in boxes:
        x, y, box_width, box_height = shown.box
        rectangles.append(
            f'<rect class="{shown.kind}" x="{x:.1f}" y="{y:.1f}" width="{box_width:.1f}" '
            f'height="{box_height:.1f}"><title>{escape(shown.text)}</title></rect>'
        )
        # The text grows towards the middle, so that it does not leave the image.
        at_right = x + box_width / 2 > width / 2
        start = min(x + box_width, width) if at_right else max(x, 0)
        room = min(start if at_right else width - start, max(box_width, width / 2))
        text = _shortened(shown.name, shown.score, room / size)
        length = size * _length(text)
        left = start - length if at_right else start
        bottom = _free_line(left, length, (y, y + box_height), size * _LINE_HEIGHT, height, taken)
        if bottom is None:
            continue
        taken.append(_Place(left, length, bottom))
        labels.append(
            f'<text x="{start:.1f}" y="{bottom - 0.25 * size:.1f}" font-size="{size:.1f}" '
            f'stroke-width="{size / 4:.1f}" text-anchor="{"end" if at_right else "start"}">'
            f"{escape(text)}</text>"
        )
    description = f"{title}: {', '.join(shown.text for shown in boxes) or 'none'}"
    return Html(  # no box over a text
        f'<div><span>{title}</span><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(description)}">{image}{"".join(rectangles + labels)}</svg></div>'
    )


def _length(text: str) -> float:
    """Length of a text in sizes of its letters, in a font as wide as any that a browser takes."""
    return sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    if letter in "mwMW…" or unicodedata.east_asian_width(letter) in "FW":
        return 1.1
    if letter in "fijlt .,:":
        return 0.5
    return 0.85 if letter.isupper() else 0.72


def _shortened(name: str, score: str, room: float) -> str:
    """Name and score within a length, with an ellipsis for the end of a name that is too long."""
    text = f"{name} {score}".rstrip()
    while name and _length(text) > room:
        name = name[:-1].rstrip()
        text = f"{name}… {score}".rstrip()
    return text


def _free_line(
    left: float,
    length: float,
    box: tuple[float, float],
    line: float,
    image_height: int,
    taken: Sequence[_Place],
) -> float | None:
    """Where a text's line ends: above its box, below it, or inside; None where nothing is free.

    Args:
        left: where the text begins.
        length: of the text.
        box: top and bottom of its box.
        line: height of a line.
        image_height: height of the image.
        taken: the texts that are there.
    """
    top, bottom = box
    inside = (top + number * line for number in range(2, int((bottom - top) / line) + 1))
    for place in (top, top + line, bottom + line, bottom, *inside):
        if line <= place <= image_height and not any(
            abs(place - other.bottom) < line
            and left < other.left + other.length
            and other.left < left + length
            for other in taken
        ):
            return place
    return None

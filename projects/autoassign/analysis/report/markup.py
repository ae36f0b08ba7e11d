"""Small pieces of HTML. Text is escaped here and nowhere else."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np

__all__ = [
    "Html",
    "Section",
    "count",
    "data_uri",
    "jpeg",
    "json_script",
    "missing",
    "number",
    "table",
]


class Html(str):
    """Text that is markup already; any other string is escaped."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its id.
        title: its heading, plain text.
        body: what stands below.
    """

    anchor: str
    title: str
    body: Html


def text(value: object) -> Html:
    """A value as HTML; :class:`Html` as it is."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def missing(sentence: str) -> Html:
    """What stands in the place of a part that cannot be shown; a full stop is added."""
    # The message of an error may end with its own.
    end = "" if sentence.endswith((".", "?", "!")) else "."
    return Html(f'<p class="missing">{text(sentence)}{end}</p>')


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, sortable: bool = False) -> Html:
    """A table that scrolls sideways where it is too wide.

    Args:
        head: the headings; none of them for a table without headings.
        rows: cells; the first of each row is its heading.
        sortable: whether the headings are buttons that sort the rows.
    """

    def heading(label: str) -> str:
        inner = f'<button type="button">{text(label)}</button>' if sortable else text(label)
        return f'<th scope="col">{inner}</th>'

    headings = "".join(heading(label) for label in head)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{text(cell)}</td>" for cell in others)
        lines.append(f'<th scope="row">{text(first)}</th>{cells}')
    head_row = f"<thead><tr>{headings}</tr></thead>" if head else ""
    body_rows = "".join(f"<tr>{line}</tr>" for line in lines)
    kind = ' class="sortable"' if sortable else ""
    # A region that scrolls is reached by keyboard only if it takes the focus.
    return Html(
        f'<div class="scroll" tabindex="0"><table{kind}>{head_row}'
        f"<tbody>{body_rows}</tbody></table></div>"
    )


def data_uri(content: bytes, media_type: str) -> str:
    """The content as an address of its own."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def jpeg(image: np.ndarray, max_side: int) -> str:
    """The data URI of an RGB image (H, W, 3), uint8, scaled down to ``max_side`` if larger."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    _, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data_uri(buffer.tobytes(), "image/jpeg")


def json_script(identifier: str, content: Any) -> Html:
    """Data for the page's script."""
    # "</script>" or "<!--" in a string would end or change the element.
    literal = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{identifier}">{literal}</script>')

"""Objects whose assignment can be looked at level by level in the browser."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ...data.model_inputs import has_objects, map_record
from ...runs import LoadedDetector
from ..figures import ImageExplanation, ObjectMaps, explain_image
from ..figures.heat import COLORMAP, region_of
from .markup import Html, Section, count, jpeg, json_script, missing

__all__ = ["assignment_section"]

_MAX_OBJECTS = 5  # of an image
_MAX_SIDE = 900  # pixels of an embedded image

_CONTROLS = """
<div class="viewer" id="viewer" tabindex="0" role="group" aria-label="Maps of one object"
aria-describedby="keys" hidden>
<div class="controls" role="group" aria-label="Object">
<button type="button" id="previous">← previous</button>
<button type="button" id="next">next →</button>
<b id="object-name" aria-live="polite"></b>
<label class="switch"><input type="checkbox" id="zoom" checked> around the object</label>
</div>
<div class="controls" role="group" aria-label="Map" id="maps"></div>
<div class="controls" role="group" aria-label="Level" id="levels"></div>
<div class="stage"><svg id="stage" role="img"></svg></div>
<div class="scale"><span>0</span><canvas id="scale" width="256" height="1"></canvas>
<span id="greatest"></span></div>
<p id="readout"></p>
<p class="note"><span id="keys">Keys, after a click on the picture or Tab to its frame: ← → object,
↑ ↓ level, M map.</span> Each square is a location, in the color of its
value; the scale is that of the map on all levels. The cross marks the greatest value of the map
that says how much a location learns the object; each level's percentage is its share in the sum of
that map.</p>
</div>
<noscript><p class="missing">Scripts are switched off: the maps cannot be shown.</p></noscript>
"""


def assignment_section(
    subject: LoadedDetector | None, records: Sequence[dict[str, Any]], why: str, num_images: int
) -> Section:
    """Images whose objects can be stepped through.

    Args:
        subject: the trained detector; None if there is none.
        records: dataset dicts of the test dataset.
        why: the reason where ``subject`` is None or there are no ``records``.
        num_images: so many images.
    """
    title = "Label assignment"
    if subject is None or not records:
        return Section("assignment", title, missing(f"No assignment is shown: {why}"))
    try:
        body = _body(subject, [record for record in records if has_objects(record)][:num_images])
    except (OSError, RuntimeError, ValueError) as error:
        body = missing(f"No assignment is shown: {error}")
    return Section("assignment", title, body)


def _body(subject: LoadedDetector, records: Sequence[dict[str, Any]]) -> Html:
    images = [_image(subject, record) for record in records]
    images = [image for image in images if image["objects"]]
    if not images:
        return missing("No image of the test dataset has an object.")
    table = matplotlib.colormaps[COLORMAP](np.arange(256))[:, :3]
    data = {
        "images": images,
        "colors": base64.b64encode((table * 255).round().astype(np.uint8).tobytes()).decode(),
    }
    introduction = (
        f"<p>What {subject.strategy} would teach at which location, with the weights of "
        f"{escape(Path(subject.weights).name)}: the first {count(len(images), 'image')} with "
        f"objects of the test dataset, and of each up to {_MAX_OBJECTS} objects from the largest "
        "to the smallest.</p>"
    )
    return Html(introduction + _CONTROLS + json_script("assignments", data))


def _image(subject: LoadedDetector, record: dict[str, Any]) -> dict[str, Any]:
    """One image with its chosen objects, for the page's script."""
    item = map_record(subject.cfg, record)
    areas = item["instances"].gt_boxes.area().numpy()
    places = np.linspace(0, len(areas) - 1, min(_MAX_OBJECTS, len(areas))).round().astype(int)
    explanation = explain_image(
        subject.model,
        item,
        objects=(-areas).argsort(kind="stable")[places].tolist(),
        input_format=subject.cfg.INPUT.FORMAT,
    )
    height, width = explanation.image.shape[:2]
    return {
        "name": Path(record["file_name"]).name,
        "source": jpeg(explanation.image, _MAX_SIDE),
        "width": width,
        "height": height,
        "strides": list(explanation.strides),
        "offset": explanation.offset,
        "objects": [_object(subject, explanation, shown) for shown in explanation.objects],
    }


def _object(
    subject: LoadedDetector, explanation: ImageExplanation, shown: ObjectMaps
) -> dict[str, Any]:
    region = region_of(explanation.image, shown.box, explanation.strides[0])
    names = sorted(shown.maps, key=lambda name: name != shown.primary)  # the primary one first
    return {
        "index": shown.index,
        "class": subject.class_names[shown.class_index],
        "box": shown.box.tolist(),
        "region": list(region),
        "shares": shown.level_shares.tolist(),
        "peak": None if shown.peak is None else list(shown.peak),
        "maps": [
            {"name": name, "levels": [_cells(level) for level in shown.maps[name]]}
            for name in names
        ],
    }


def _cells(level: np.ndarray) -> dict[str, Any] | None:
    """The part of a level that has values: its place and its float32 numbers, NaN for none."""
    rows, columns = np.nonzero(~np.isnan(level))
    if not len(rows):
        return None
    x, y = int(columns.min()), int(rows.min())
    part = level[y : rows.max() + 1, x : columns.max() + 1].astype("<f4")
    height, width = part.shape
    values = base64.b64encode(part.tobytes()).decode("ascii")
    return {"x": x, "y": y, "width": width, "height": height, "values": values}

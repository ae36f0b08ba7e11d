"""The parts that the small datasets of these tests are made of."""

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

VOC_SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def write_image(path: Path, width: int = 40, height: int = 30, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def annotation(annotation_id: int, image_id: int, bbox: list, **fields: object) -> dict:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": bbox,
        "area": 50.0,
        "iscrowd": 0,
        **fields,
    }


def voc_object(name: str, box: tuple, difficult: object = 0) -> str:
    corners = "".join(
        f"<{field}>{value}</{field}>"
        for field, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"<object><name>{escape(name)}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{corners}</bndbox></object>"
    )

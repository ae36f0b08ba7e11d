"""Small datasets on disk, and catalogs that a test leaves as it found them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from folder_parts import annotation, write_image

from autoassign import add_autoassign_config


@pytest.fixture(autouse=True)
def _catalogs_restored() -> Iterator[None]:
    saved = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield
    for catalog, data in saved:
        catalog.data = data


@pytest.fixture
def make_cfg(tmp_path: Path) -> Callable[..., CfgNode]:
    """Return a function that makes a config with the given options of DATASETS.CUSTOM."""

    def make(**custom: object) -> CfgNode:
        cfg = get_cfg()
        add_autoassign_config(cfg)
        cfg.OUTPUT_DIR = str(tmp_path / "output")
        cfg.DATASETS.CUSTOM.merge_from_other_cfg(
            CfgNode({key: str(v) if isinstance(v, Path) else v for key, v in custom.items()})
        )
        return cfg

    return make


@pytest.fixture
def coco_content() -> dict:
    """Return a valid annotation file of two images of 40 x 30 and three boxes."""
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "a.png", "height": 30, "width": 40},
            {"id": 9, "file_name": "b.png", "height": 30, "width": 40},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}],
        "annotations": [
            annotation(11, 7, [5, 5, 10, 20], category_id=1),
            annotation(12, 7, [20, 10, 15, 15], category_id=3),
            annotation(13, 9, [2, 3, 30, 25], category_id=3),
        ],
    }


@pytest.fixture
def coco_folder(tmp_path: Path, coco_content: dict) -> Callable[..., Path]:
    """Return a function that writes annotation files (``coco_content``) and their images."""

    def write(*names: str, **changes: object) -> Path:
        root = tmp_path / "pets"
        content = {**coco_content, **changes}
        for name in names or ("train.json",):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(json.dumps(content))
        for image in content["images"]:
            write_image(root / "images" / image.get("file_name", "none.png"))
        return root

    return write


@pytest.fixture
def voc_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes splits: ``train={"a": <XML inside annotation>, ...}``."""

    def write(**splits: dict[str, str]) -> Path:
        root = tmp_path / "cells"
        for folder in ("Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for split, images in splits.items():
            (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(images) + "\n")
            for image_id, body in images.items():
                xml = f"<annotation><filename>{image_id}.png</filename>{body}</annotation>"
                (root / f"Annotations/{image_id}.xml").write_text(xml)
                write_image(root / f"JPEGImages/{image_id}.png")
        return root

    return write

"""The Python example of the README, run with a smaller model for a few iterations."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, Instances
from narrow_model import NARROW

README = Path(__file__).parents[2] / "README.md"
SHORT = (
    *(*NARROW, "SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0),
    *("MODEL.DEVICE", "cuda"),  # the default; the CPU is used where there is none
)


@pytest.fixture
def _catalogs_kept():
    before = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield
    for catalog, data in before:
        catalog.data = data


@pytest.mark.usefixtures("_catalogs_kept")
def test_the_example_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.jpg", np.full((96, 128, 3), 90, np.uint8))
    box = {"bbox": [8, 8, 60, 70], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    record = {"file_name": "a.jpg", "height": 96, "width": 128, "annotations": [box]}
    records = [{**record, "image_id": number} for number in range(2)]
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    start = "trainer = HeadTrainer(cfg)"
    assert start in code
    names = {"load_my_records": lambda: records}
    exec(code.replace(start, f"cfg.merge_from_list({list(SHORT)!r})\n{start}"), names)
    assert not any(x.requires_grad for x in names["trainer"].model.backbone.parameters())
    assert isinstance(names["instances"], Instances)
    assert names["predictor"].metadata.thing_classes == ["cat", "dog"]

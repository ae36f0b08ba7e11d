"""A training by one command on a dataset as it lies on disk, in three formats."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from narrow_model import NARROW

from autoassign.data.shapes import generate_shapes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return generate_shapes(folder, num_train=6, num_val=3, seed=1)


def objects_of(shapes: Path, split: str) -> list[tuple[dict, list[tuple[str, list[float]]]]]:
    """Each image's entry, and the class and xywh box of its objects."""
    content = json.loads((shapes / f"annotations/{split}.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    return [
        (
            image,
            [
                (names[x["category_id"]], x["bbox"])
                for x in content["annotations"]
                if x["image_id"] == image["id"]
            ],
        )
        for image in content["images"]
    ]


def write_yolo(shapes: Path, folder: Path) -> list[str]:
    """As Roboflow exports YOLO: data.yaml with paths that lead one folder too high."""
    names = sorted({name for _, objects in objects_of(shapes, "train") for name, _ in objects})
    for split, source in (("train", "train"), ("valid", "val")):
        shutil.copytree(shapes / source, folder / split / "images")
        (folder / split / "labels").mkdir()
        for image, objects in objects_of(shapes, source):
            size = (image["width"], image["height"])
            lines = [
                " ".join(
                    map(
                        str,
                        (
                            names.index(name),
                            *((x + w / 2) / size[0], (y + h / 2) / size[1]),
                            *(w / size[0], h / size[1]),
                        ),
                    )
                )
                for name, (x, y, w, h) in objects
                if name in names
            ]
            label = Path(image["file_name"]).with_suffix(".txt").name
            (folder / split / "labels" / label).write_text("\n".join(lines))
    text = f"train: ../train/images\nval: ../valid/images\nnc: {len(names)}\nnames: {names}\n"
    (folder / "data.yaml").write_text(text)
    return ["DATASETS.CUSTOM.FORMAT", "yolo"]


def write_voc(shapes: Path, folder: Path) -> list[str]:
    """XML beside the images, and no split."""
    shutil.copytree(shapes / "train", folder)
    for image, objects in objects_of(shapes, "train"):
        body = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for name, (x, y, w, h) in objects
        )
        xml = (folder / image["file_name"]).with_suffix(".xml")
        xml.write_text(f"<annotation>{body}</annotation>")
    return ["DATASETS.CUSTOM.FORMAT", "voc", "DATASETS.CUSTOM.VAL_FRACTION", "0.4"]


def write_coco(shapes: Path, folder: Path) -> list[str]:
    """As Roboflow exports COCO: annotations in the folders, a category 0 without objects."""
    for split, source in (("train", "train"), ("valid", "val")):
        shutil.copytree(shapes / source, folder / split)
        content = json.loads((shapes / f"annotations/{source}.json").read_text())
        for category in content["categories"]:
            category["supercategory"] = "shapes"
        content["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))
    return [
        *("DATASETS.CUSTOM.FORMAT", "COCO"),
        *("DATASETS.CUSTOM.TRAIN", "train", "DATASETS.CUSTOM.TEST", "valid"),
    ]


@pytest.mark.parametrize("write", [write_yolo, write_voc, write_coco])
def test_training_starts_and_is_evaluated(write, shapes, tmp_path):
    options = write(shapes, tmp_path / "mine")
    options += ["DATASETS.CUSTOM.ROOT", str(tmp_path / "mine"), "OUTPUT_DIR", str(tmp_path / "out")]
    small = [*NARROW, "SOLVER.MAX_ITER", 1, "SOLVER.WARMUP_ITERS", 0, "SOLVER.IMS_PER_BATCH", 2]
    small += ["INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MIN_SIZE_TEST", 96]
    command = [sys.executable, "-m", "autoassign", "train", "--config-file", "Base-Small.yaml"]

    result = subprocess.run(
        [*command, *options, *map(str, small)], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/model_final.pth").is_file()
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.json").read_text().splitlines()]
    assert any(row.get("bbox/AP", -1) >= 0 for row in rows)

"""The generated quick-start dataset: reproducible, correctly annotated, cached, nothing lost."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import load_coco_json

from autoassign.config import load_config
from autoassign.data import register_custom_datasets, shape_scenes
from autoassign.data.shape_scenes import CLASS_NAMES, IMAGE_SIZE, draw_scene
from autoassign.data.shapes import generate_shapes, main


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def scenes(count):
    return [draw_scene(np.random.default_rng(seed)) for seed in range(count)]


def test_same_seed_gives_the_same_bytes(tmp_path):
    first = generate_shapes(tmp_path / "a", num_train=4, num_val=2, seed=3)
    second = generate_shapes(tmp_path / "b", num_train=4, num_val=2, seed=3)
    other = generate_shapes(tmp_path / "c", num_train=4, num_val=2, seed=4)
    assert contents(first) == contents(second)
    assert contents(first)["train/000001.jpg"] != contents(other)["train/000001.jpg"]


def test_an_image_does_not_depend_on_the_number_of_images(tmp_path):
    few = contents(generate_shapes(tmp_path / "few", num_train=2, num_val=1, seed=0))
    many = contents(generate_shapes(tmp_path / "many", num_train=3, num_val=2, seed=0))
    images = [name for name in few if name.endswith(".jpg")]
    assert len(images) == 3
    assert all(few[name] == many[name] for name in images)
    assert len({few[name] for name in images}) == 3


def test_boxes_are_the_extent_of_the_visible_pixels():
    for _, objects in scenes(12):
        for obj in objects:
            rows, columns = np.nonzero(obj.visible)
            x, y, width, height = obj.box
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())


def test_masks_are_the_pixels_that_change_in_the_picture(monkeypatch):
    # Without its objects, noise and texture, a scene is flat; what differs was drawn.
    flat = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 100.0)
    monkeypatch.setattr(shape_scenes, "_background", lambda rng: flat.copy())
    monkeypatch.setattr(
        shape_scenes, "_pattern", lambda rng, height, width: np.zeros((height, width))
    )
    monkeypatch.setattr(shape_scenes, "_object_colors", lambda rng, beneath: np.full((2, 3), 200.0))
    for seed in range(6):
        canvas, objects = flat.copy(), []
        shape_scenes._add_object(np.random.default_rng(seed), canvas, objects)
        assert np.array_equal(canvas[..., 0] >= 150, objects[0].visible)


def test_hidden_parts_belong_to_the_object_in_front():
    for _, objects in scenes(30):
        assert sum(obj.visible.astype(int) for obj in objects).max() == 1
        covered = np.any([obj.mask for obj in objects], axis=0)
        assert np.array_equal(covered, np.any([obj.visible for obj in objects], axis=0))
        assert all(obj.visible.sum() >= 0.7 * obj.mask.sum() for obj in objects)


def test_sizes_and_counts_stay_within_the_limits():
    drawn = scenes(60)
    assert {len(objects) for _, objects in drawn} == {1, 2, 3, 4, 5, 6}
    sides = [max(obj.box[2:]) for _, objects in drawn for obj in objects]
    assert min(sides) >= 20
    assert max(sides) <= 100


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_each_class_has_its_shape(name):
    # How a mask fills its box, its convex hull and its holes tells the six classes apart.
    place, outlines = shape_scenes._place, shape_scenes._OUTLINES[name]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = shape_scenes._coverage(place(rng, outlines(rng))) >= 0.5
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        outer = max(contours, key=len)
        solidity = cv2.contourArea(outer) / cv2.contourArea(cv2.convexHull(outer))
        sides = cv2.minAreaRect(outer)[1]
        slimness = max(sides) / min(sides)
        assert (len(contours) == 2) == (name == "ring")
        assert (solidity < 0.85) == (name in ("crescent", "lollipop", "bracket"))
        assert (slimness > 2) == (name == "bar") or name in ("lollipop", "crescent", "bracket")
        if name == "lollipop":  # top-heavy
            rows = np.nonzero(mask)[0]
            assert rows.mean() < (rows.min() + rows.max()) / 2


def test_detectron2_loads_the_folder(tmp_path):
    folder = generate_shapes(tmp_path / "shapes", num_train=12, num_val=3, seed=0)
    name = "test_shapes_train"
    records = load_coco_json(
        str(folder / "annotations" / "train.json"), str(folder / "train"), name
    )
    assert MetadataCatalog.get(name).thing_classes == list(CLASS_NAMES)
    assert len(records) == 12
    for record in records:
        image = cv2.imread(record["file_name"])
        assert image.shape == (record["height"], record["width"], 3) == (160, 160, 3)
        for annotation in record["annotations"]:
            x, y, width, height = annotation["bbox"]
            assert min(x, y) >= 0
            assert max(x + width, y + height) <= 160
            assert annotation["iscrowd"] == 0
    classes = Counter(a["category_id"] for r in records for a in r["annotations"])
    assert sorted(classes) == [0, 1, 2, 3, 4, 5]


def test_areas_are_those_of_the_visible_pixels(tmp_path):
    folder = generate_shapes(tmp_path / "shapes", num_train=1, num_val=1, seed=5)
    dataset = json.loads((folder / "annotations" / "val.json").read_text())
    _, objects = draw_scene(np.random.default_rng([5, 1, 0]))
    assert [a["area"] for a in dataset["annotations"]] == [
        np.count_nonzero(obj.visible) for obj in objects
    ]


def test_second_call_reuses_and_other_parameters_replace(tmp_path):
    folder = generate_shapes(tmp_path / "shapes", num_train=2, num_val=1, seed=0)
    inode = folder.stat().st_ino
    generate_shapes(folder, num_train=2, num_val=1, seed=0)
    assert folder.stat().st_ino == inode
    generate_shapes(folder, num_train=1, num_val=1, seed=0)
    assert sorted(p.name for p in (folder / "train").iterdir()) == ["000001.jpg"]
    assert list(tmp_path.iterdir()) == [folder]  # no temporary folder stays


def test_interrupted_generation_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = generate_shapes(tmp_path / "shapes", num_train=1, num_val=1, seed=0)
    before = contents(folder)

    def interrupted(rng):
        raise KeyboardInterrupt

    monkeypatch.setattr("autoassign.data.shapes.draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_shapes(folder, num_train=2, num_val=1, seed=0)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("extra", ["", "shapes.json"])
def test_a_foreign_folder_is_refused_and_untouched(tmp_path, extra):
    (tmp_path / "thesis.tex").write_text("years of work")
    if extra:  # a dataset of ours to which someone added a file
        (tmp_path / extra).write_text("{}")
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        generate_shapes(tmp_path, num_train=1, num_val=1)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("bad", [{"num_train": 0}, {"num_val": 0}, {"seed": -1}])
def test_parameters_out_of_range_are_named(tmp_path, bad):
    (name, value), *_ = bad.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        generate_shapes(tmp_path / "shapes", **{"num_train": 1, "num_val": 1, "seed": 0, **bad})
    assert not (tmp_path / "shapes").exists()


def test_command_line(tmp_path, capsys):
    folder = tmp_path / "shapes"
    main(["--output", str(folder), "--num-train", "1", "--num-val", "2", "--seed", "7"])
    assert len(list((folder / "val").iterdir())) == 2
    assert str(folder) in capsys.readouterr().out


def test_the_quick_start_s_configs_say_how_to_generate_their_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config("quickstart/autoassign_shapes.yaml")
    with pytest.raises(FileNotFoundError, match=r"`python -m autoassign.data.shapes` generates it"):
        register_custom_datasets(cfg)
    main(["--num-train", "2", "--num-val", "1"])
    register_custom_datasets(cfg)
    assert cfg.DATASETS.TRAIN == ("shapes_train",)

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from folder_parts import VOC_SIZE, annotation, voc_object, write_image
from hypothesis import given
from hypothesis import strategies as st

from autoassign.config import check_values
from autoassign.data import BoxTable, TableBuilder, load_table, register_custom_datasets
from autoassign.data.validation_split import choose_validation_images


def table_of(classes_of_images: dict[str, list[int]]) -> BoxTable:
    builder = TableBuilder()
    for number, (name, classes) in enumerate(classes_of_images.items()):
        index = builder.add_image(name, number, 10, 10)
        for class_index in classes:
            builder.add_object(index, class_index, (0, 0, 5, 5))
    return builder.build()


def chosen_names(images: dict[str, list[int]], fraction: float = 0.2, seed: int = 0) -> set[str]:
    mask = choose_validation_images(table_of(images), "/", fraction=fraction, seed=seed)
    return {name for name, chosen in zip(images, mask, strict=True) if chosen}


def many(count: int, prefix: str, classes: list[int]) -> dict[str, list[int]]:
    return {f"/{prefix}{i}.jpg": classes for i in range(count)}


def test_the_share_is_about_the_fraction_in_each_class():
    images = {**many(2000, "a", [0]), **many(1000, "b", [1]), **many(500, "c", [])}
    chosen = chosen_names(images)
    for prefix, count in (("a", 2000), ("b", 1000), ("c", 500)):
        share = sum(name.startswith(f"/{prefix}") for name in chosen) / count
        # Four standard deviations.
        assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / count))


def test_no_image_changes_sides_when_others_are_added_or_removed():
    images = {**many(300, "a", [0]), **many(200, "b", [1])}
    more = {**many(50, "new", [0, 1]), **images, **many(50, "newer", [])}
    assert chosen_names(more) & images.keys() == chosen_names(images)


def test_only_an_image_that_a_class_needs_on_its_side_changes_sides_when_others_are_added():
    # Of these names and this seed, image 0 is for validation only while its class has no other.
    few, more = many(3, "", [0]), many(8, "", [0])
    assert chosen_names(few, seed=2) == {"/0.jpg"}
    assert "/0.jpg" not in chosen_names(more, seed=2)
    # Without a class that lacks a side, the same images stay.
    with_others = {**many(3, "", []), **many(100, "a", [0])}
    assert chosen_names(with_others, seed=2) & few.keys() == chosen_names(more, seed=2) & few.keys()


def test_the_choice_follows_the_seed_and_not_the_order():
    images = many(100, "a", [0])
    assert chosen_names(images) == chosen_names(dict(reversed(images.items())))
    assert chosen_names(images) != chosen_names(images, seed=1)


def test_names_are_taken_relative_to_the_folder():
    masks = [
        choose_validation_images(
            table_of({f"{root}/{i}.jpg": [0] for i in range(50)}), root, fraction=0.5, seed=0
        )
        for root in ("/one", "/another/place")
    ]
    assert masks[0].tolist() == masks[1].tolist()


@given(
    images=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=2, max_size=30),
    fraction=st.floats(0.02, 0.98),
)
def test_each_class_of_two_images_or_more_is_on_both_sides(images, fraction):
    # A class each, so that one class does not take an image from another.
    named = {f"/{i}.jpg": classes[:1] for i, classes in enumerate(images)}
    chosen = chosen_names(named, fraction)
    for class_index in range(6):
        owners = {name for name, classes in named.items() if class_index in classes}
        if len(owners) > 1:
            assert owners & chosen
            assert owners - chosen


def test_crowds_are_no_objects_of_a_class():
    builder = TableBuilder()
    for number in range(40):
        index = builder.add_image(f"/{number}.jpg", number, 10, 10)
        builder.add_object(index, 0, (0, 0, 5, 5), is_crowd=True)
    mask = choose_validation_images(builder.build(), "/", fraction=1e-9, seed=0)
    assert not mask.any()


@pytest.fixture
def flat(make_cfg, tmp_path):
    root = tmp_path / "flat"
    for number in range(20):
        write_image(root / f"{number}.png", seed=number)
        name = "cell" if number % 4 else "virus"
        body = VOC_SIZE + voc_object(name, (5, 5, 20, 20))
        (root / f"{number}.xml").write_text(f"<annotation>{body}</annotation>")
    return make_cfg(FORMAT="voc", ROOT=root, VAL_FRACTION=0.3)


def test_both_parts_are_registered_and_written_down(flat, tmp_path):
    register_custom_datasets(flat)

    assert flat.DATASETS.TRAIN == ("flat_train",)
    assert flat.DATASETS.TEST == ("flat_val",)
    train, val = (
        {record["file_name"] for record in DatasetCatalog.get(name)}
        for name in ("flat_train", "flat_val")
    )
    assert not train & val
    assert len(train | val) == 20
    written = json.loads((tmp_path / "output/splits/flat.json").read_text())
    assert (set(written["train"]), set(written["val"])) == (train, val)
    assert (written["fraction"], written["seed"]) == (0.3, 0)
    with open(MetadataCatalog.get("flat_val").json_file) as file:
        assert len(json.load(file)["images"]) == len(val)
    assert MetadataCatalog.get("flat_val").thing_classes == ["cell", "virus"]
    summary = load_table("flat_val").report.summary
    assert summary == f"{len(val)} images, {len(val)} boxes of flat (20 images, 20 boxes)"


def test_another_seed_gives_another_part(flat):
    parts = []
    for seed in (0, 1):
        flat.DATASETS.CUSTOM.VAL_SEED = seed
        register_custom_datasets(flat)
        parts.append([record["file_name"] for record in DatasetCatalog.get("flat_val")])
    assert parts[0] != parts[1]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_a_fraction_out_of_range_is_an_error(flat, fraction):
    flat.DATASETS.CUSTOM.VAL_FRACTION = fraction
    with pytest.raises(ValueError, match=r"VAL_FRACTION is .* at least 0 and less than 1"):
        check_values(flat)


def test_a_fraction_beside_a_test_split_is_an_error(make_cfg, coco_folder):
    cfg = make_cfg(
        FORMAT="coco",
        ROOT=coco_folder("train.json", "val.json"),
        TRAIN="train.json",
        TEST="val.json",
        VAL_FRACTION=0.5,
    )
    with pytest.raises(ValueError, match="there are test images already: pets_val"):
        register_custom_datasets(cfg)


def test_a_fraction_that_leaves_nothing_is_an_error(make_cfg, coco_folder):
    root = coco_folder(annotations=[annotation(1, 7, [1, 1, 8, 8])])
    cfg = make_cfg(FORMAT="coco", ROOT=root, TRAIN_IMAGES="images", VAL_FRACTION=1e-9)
    with pytest.raises(ValueError, match="leaves none for pets_train_val"):
        register_custom_datasets(cfg)

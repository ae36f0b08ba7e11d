import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from folder_parts import write_image

from autoassign.data import load_table, register_custom_datasets

# Images are 40 x 30 pixels: center (10, 15), 8 wide and 6 high.
BOX = "0 0.25 0.5 0.2 0.2"
CORNERS = [6, 12, 14, 18]


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes text files and, for other names, images below a folder."""

    def write(files: dict[str, str | None]):
        root = tmp_path / "yolo"
        for name, text in files.items():
            path = root / name
            if text is None:
                write_image(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return root

    return write


@pytest.fixture
def register(make_cfg, folder):
    """Return a function that writes a folder, registers it and returns its splits' boxes."""

    def call(files: dict[str, str | None], root=None, **custom):
        written = folder(files)
        cfg = make_cfg(FORMAT="yolo", ROOT=root or written, **custom)
        register_custom_datasets(cfg)
        call.cfg = cfg
        return {
            name: {
                os.path.basename(record["file_name"]): [a["bbox"] for a in record["annotations"]]
                for record in DatasetCatalog.get(name)
            }
            for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
        }

    return call


def approx(boxes: list) -> list:
    return [pytest.approx(box) for box in boxes]


ULTRALYTICS = {
    "data.yaml": (
        "path: .\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: cat\n  1: dog\n"
    ),
    "images/train/a.png": None,
    "labels/train/a.txt": f"{BOX}\n1 0.5 0.5 1 1\n",
    "images/val/b.png": None,
    "labels/val/b.txt": BOX,
}


def test_ultralytics(register):
    assert register(ULTRALYTICS) == {
        "yolo_train": {"a.png": approx([CORNERS, [0, 0, 40, 30]])},
        "yolo_val": {"b.png": approx([CORNERS])},
    }
    assert MetadataCatalog.get("yolo_val").thing_classes == ["cat", "dog"]
    records = DatasetCatalog.get("yolo_train")
    assert [a["category_id"] for a in records[0]["annotations"]] == [0, 1]
    assert (records[0]["height"], records[0]["width"]) == (30, 40)


def test_the_yaml_itself_as_root(register, tmp_path):
    expected = register(ULTRALYTICS)
    os.rename(tmp_path / "yolo/data.yaml", tmp_path / "yolo/mine.yml")

    assert register({}, root=tmp_path / "yolo/mine.yml") == expected


def test_other_yaml_files_in_the_folder_do_not_matter(register):
    files = {**ULTRALYTICS, "args.yaml": "epochs: 3\n", "z.yaml": "a: b\n"}
    files["my.yaml"] = files.pop("data.yaml")

    assert list(register(files)) == ["yolo_train", "yolo_val"]


def test_roboflow_with_paths_one_folder_too_high(register):
    files = {
        "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n",
        "train/images/a.jpg": None,
        "train/labels/a.txt": BOX,
        "valid/images/b.jpg": None,
        "valid/labels/b.txt": BOX,
        "README.roboflow.txt": "https://universe.roboflow.com",
    }

    assert register(files) == {
        "yolo_train": {"a.jpg": approx([CORNERS])},
        "yolo_val": {"b.jpg": approx([CORNERS])},
    }


def test_lists_of_images_and_a_path_of_another_machine(register):
    files = {
        "data.yaml": "path: /home/someone/yolo\ntrain: train.txt\nval: [one, two]\nnames: [cat]\n",
        "train.txt": "./images/train/a.png\nimages/train/b.png\n\n",
        "images/train/a.png": None,
        "labels/train/a.txt": BOX,
        "images/train/b.png": None,
        "labels/train/b.txt": "",
        "one/c.png": None,
        "one/c.txt": BOX,
        "two/d.png": None,
    }

    assert register(files) == {
        "yolo_train": {"a.png": approx([CORNERS]), "b.png": []},
        "yolo_val": {"c.png": approx([CORNERS]), "d.png": []},
    }
    summary = load_table("yolo_val").report.summary
    assert summary.endswith("repaired: 1 images without a label file, taken as empty")


def test_images_and_labels_without_a_yaml(register):
    files = {
        "images/a.png": None,
        "labels/a.txt": "2 0.25 0.5 0.2 0.2",
        "classes.txt": "cat\ndog\nbird\n",
    }

    assert register(files) == {"yolo": {"a.png": approx([CORNERS])}}
    assert MetadataCatalog.get("yolo").thing_classes == ["cat", "dog", "bird"]


def test_split_folders_without_a_yaml_and_without_names(register):
    files = {
        "images/train/a.png": None,
        "labels/train/a.txt": BOX,
        "images/val/b.png": None,
        "labels/val/b.txt": "1 0.25 0.5 0.2 0.2",
    }

    assert list(register(files)) == ["yolo_images_train", "yolo_images_val"]
    assert MetadataCatalog.get("yolo_images_train").thing_classes == ["0", "1"]
    summary = load_table("yolo_images_val").report.summary
    assert summary.endswith("repaired: 2 classes without a name, called by their numbers")


def test_splits_that_are_named(register):
    register(ULTRALYTICS, TRAIN="val", TEST="images/train")

    assert register.cfg.DATASETS.TRAIN == ("yolo_val",)
    assert register.cfg.DATASETS.TEST == ("yolo_images_train",)


@pytest.mark.parametrize(
    ("line", "corners"),
    [
        ("0 0.1 0.2 0.5 0.2 0.5 0.8", [4, 6, 20, 24]),  # triangle
        ("0 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8", [4, 6, 20, 24]),  # rectangle of any direction
        ("0.0 0.25 0.5 2e-1 0.2", CORNERS),
        (f"  {BOX}\t", CORNERS),
    ],
)
def test_polygons_and_ways_to_write_numbers(register, line, corners):
    files = {"images/a.png": None, "labels/a.txt": line}

    assert register(files) == {"yolo": {"a.png": approx([corners])}}


def test_keypoints_after_the_box_are_left_out(register):
    files = {
        "data.yaml": "train: images\nkpt_shape: [2, 3]\nnames: [cat]\n",
        "images/a.png": None,
        "labels/a.txt": f"{BOX} 0.9 0.9 2 0 0 0",
    }

    assert register(files) == {"yolo_train": {"a.png": approx([CORNERS])}}


def test_repeated_labels_count_once(register):
    files = {"images/a.png": None, "labels/a.txt": f"{BOX}\n{BOX}\n1 0.5 0.5 1 1\n"}

    assert len(register(files)["yolo"]["a.png"]) == 2
    assert "repaired: 1 repeated labels left out" in load_table("yolo").report.summary


def test_linked_images_have_their_labels_beside_the_link(register, folder, tmp_path):
    write_image(tmp_path / "elsewhere" / "a.png")
    root = folder({"labels/train/a.txt": BOX})
    (root / "images").mkdir()
    (root / "images" / "train").symlink_to(tmp_path / "elsewhere")

    assert register({}) == {"yolo_images_train": {"a.png": approx([CORNERS])}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.1 0.2 0.3", "line 1: 4 values; a class is followed by"),
        ("0 0.1 0.2 0.3 0.4 0.5", "line 1: 6 values"),
        (f"{BOX}\n\ncat 0.1 0.2 0.3 0.4", "line 3: 'cat 0.1 0.2 0.3 0.4' is not numbers"),
        ("2 0.1 0.2 0.3 0.4", "line 1: the class is 2; allowed: 0 to 1"),
        ("-1 0.1 0.2 0.3 0.4", "the class is -1"),
        ("0.5 0.1 0.2 0.3 0.4", "the class is 0.5"),
        ("nan 0.1 0.2 0.3 0.4", "the class is nan"),
        ("1e400 0.1 0.2 0.3 0.4", "the class is 1e400"),
        ("0 10 15 8 6", "is not in shares of the image's size, from 0 to 1: is it in pixels"),
    ],
)
def test_a_faulty_label_is_named_with_file_and_line(register, line, message):
    with pytest.raises(ValueError, match=message) as error:
        register({**ULTRALYTICS, "labels/train/a.txt": line})
    assert "labels/train/a.txt, line" in str(error.value)


def test_faults_of_all_files_are_told_at_once(register):
    files = {
        **ULTRALYTICS,
        "images/train/c.png": None,
        "labels/train/c.txt": "0 1\n0 2\n7 0.1 0.2 0.3 0.4\n",
    }

    with pytest.raises(ValueError, match="yolo: labels/train/c") as error:
        register(files)

    sentences = str(error.value).split("; ", 2)
    assert "c.txt, line 1: 2 values" in sentences[0]
    assert "(1 more like it)" in str(error.value)
    assert "c.txt, line 3: the class is 7" in str(error.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"data.yaml": "names: ["}, r"data\.yaml is not YAML"),
        ({"data.yaml": "- 1"}, r"data\.yaml is not a data\.yaml of YOLO"),
        ({"data.yaml": "train: images"}, "it has no field 'names'"),
        ({"data.yaml": "names: 3\ntrain: images"}, "field 'names' is 3, not a list of names"),
        ({"data.yaml": "names: {1: cat}\ntrain: images"}, r"field 'names' is \{1: 'cat'\}"),
        ({"data.yaml": "names: [cat]\ntrain: 3"}, "field 'train' is 3, not a path"),
        ({"data.yaml": "names: [cat]\npath: 3\ntrain: a"}, "field 'path' is 3, not a path"),
        ({"data.yaml": "names: [cat]\ntrain: empty", "empty/x.md": ""}, "'train' has no image"),
        ({"one.yaml": "names: [a]", "two.yaml": "names: [a]"}, "holds 2 YAML files"),
        ({"images/a.png": None}, r"no image has a label file; .*labels/a\.txt does not exist"),
        (
            {"data.yaml": '!!python/object/apply:os.system ["false"]'},
            r"data\.yaml is not YAML: could not determine a constructor",
        ),
    ],
)
def test_a_faulty_folder_is_named(register, files, message):
    with pytest.raises(ValueError, match=message):
        register(files)


def test_a_missing_folder_is_named(register):
    files = {"data.yaml": "names: [cat]\ntrain: nowhere"}
    with pytest.raises(FileNotFoundError, match=r"data\.yaml: .*nowhere does not exist"):
        register(files)
    with pytest.raises(FileNotFoundError, match=r"/no/such does not exist"):
        register({}, root="/no/such")


def test_text_of_another_encoding_is_named(register, folder):
    root = folder(ULTRALYTICS)
    (root / "labels/train/a.txt").write_bytes("0 ä".encode("latin-1"))
    with pytest.raises(ValueError, match=r"labels/train/a\.txt is not text in UTF-8"):
        register({})

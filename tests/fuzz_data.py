"""Damaged COCO, VOC and YOLO datasets: each is read, or refused with a sentence."""

import copy
import json
import logging
import math
import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from autoassign import add_autoassign_config
from autoassign.data import load_table, register_custom_datasets

WIDTH, HEIGHT = 40, 30
IMAGES = ("a.png", "b.png", "c.png")
VALUES = [
    *(None, True, False, -1, 0, 1, 2, 7, 0.5, -0.5, 1e-320, 1e308, 2**31, -(2**31), 2**63, 2**70),
    *(10**400, -(10**400), math.inf, -math.inf, math.nan),
    *("", " ", "x", "7", "-1", "1e400", "nan", "inf", "0x1", "true", "ä", "\ud800", "a\0b", "../x"),
    *("a.png", "A.PNG", "no.png", "1" * 500, [], [1], [[]], [[1, 2, 3, 4, 5, 6]], {}, {"id": 1}),
]


class Nonsense(AssertionError):
    """A damaged dataset was neither read rightly nor refused with a sentence."""


def write_images(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(IMAGES):
        pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def damaged_tree(value: Any, rng: random.Random) -> Any:
    """JSON data in which one to three places were changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        owner, key = rng.choice(places)
        change = rng.randrange(4)
        if change == 0 and isinstance(owner, dict):
            del owner[key]
        elif change == 1 and isinstance(owner, list):
            owner.insert(rng.randint(0, len(owner)), copy.deepcopy(owner[key]))
        elif change == 2 and isinstance(owner, dict):
            key = rng.choice(("id", "ignore", "iscrowd", "segmentation", "x"))
            owner[key] = copy.deepcopy(rng.choice(VALUES))
        else:
            # A copy, which later changes may go into.
            owner[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _places(value: Any) -> Any:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list) and value[key]:
            yield from _places(value[key])


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes of which some were cut off, changed, repeated or replaced."""
    place = rng.randrange(len(content) + 1)
    other = rng.randrange(len(content) + 1)
    low, high = min(place, other), max(place, other)
    junk = rng.choice([b"\xff", b"\0", b"\xef\xbb\xbf", b"{", b"]", b"<a>", b"&x;", b"\n", b"1e9"])
    return rng.choice(
        [
            content[:place],
            content[:place] + junk + content[place:],
            content[:low] + content[high:],
            content[:low] + content[low:high] * 2 + content[high:],
            content.replace(rng.choice([b"1", b'"', b">", b" ", b"0"]), junk, 1),
            junk + content,
        ]
    )


def damaged_text(text: str, rng: random.Random) -> str:
    """Text of which some words were replaced."""
    words = re.split(r"([\s<>:,]+)", text)
    for _ in range(rng.randint(1, 3)):
        words[rng.randrange(len(words))] = str(rng.choice(VALUES))
    return "".join(words)


COCO = {
    "info": {},
    "images": [
        {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for number, name in enumerate(IMAGES, start=3)
    ],
    "categories": [{"id": 1, "name": "cat", "supercategory": "pet"}, {"id": 4, "name": "dog"}],
    "annotations": [
        {"id": number, "image_id": image, "category_id": 1, "bbox": box, "area": 90, "iscrowd": 0}
        for number, (image, box) in enumerate(
            ((3, [1, 2, 10, 9]), (3, [5, 5.5, 9, 9]), (5, [20, 9, 15, 15])), start=1
        )
    ],
}


def write_coco(folder: Path, rng: random.Random) -> None:
    if rng.random() < 0.8:
        content = json.dumps(damaged_tree(COCO, rng)).encode()
    else:
        content = damaged_bytes(json.dumps(COCO).encode(), rng)
    (folder / "train.json").write_bytes(content)


XML = """<annotation><folder>x</folder><filename>{name}</filename><path>/x/{name}</path>
<size><width>40</width><height>30</height><depth>3</depth></size><segmented>0</segmented>
<object><name>cat</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>11</xmax><ymax>11</ymax></bndbox></object>
<object><name>dog</name><difficult>1</difficult>
<bndbox><xmin>5.5</xmin><ymin>6</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""


def write_voc(folder: Path, rng: random.Random) -> None:
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    damaged = rng.randrange(len(IMAGES) + 1)
    for number, name in enumerate(IMAGES):
        text = XML.format(name=name)
        if number == damaged:
            _write_damaged(folder / f"{name[:1]}.xml", text, rng)
        else:
            (folder / f"{name[:1]}.xml").write_text(text)
    ids = "a\nb\nc\n"
    if damaged == len(IMAGES):
        _write_damaged(lists / "train.txt", ids, rng)
    else:
        (lists / "train.txt").write_text(ids)


def write_yolo(folder: Path, rng: random.Random) -> None:
    files = {f"{name[:1]}.txt": "0 0.5 0.5 0.2 0.2\n1 0.1 0.2 0.5 0.2 0.5 0.8\n" for name in IMAGES}
    files["data.yaml"] = "path: .\ntrain: images\nval:\nnc: 2\nnames:\n  0: cat\n  1: dog\n"
    damaged = rng.choice(list(files))
    for name, text in files.items():
        path = folder / name if name == "data.yaml" else folder / "labels" / name
        path.parent.mkdir(exist_ok=True)
        if name == damaged:
            _write_damaged(path, text, rng)
        else:
            path.write_text(text)


def _write_damaged(path: Path, text: str, rng: random.Random) -> None:
    if rng.random() < 0.6:
        path.write_bytes(damaged_text(text, rng).encode(errors="surrogatepass"))
    else:
        path.write_bytes(damaged_bytes(text.encode(), rng))


WRITERS: dict[str, Callable[[Path, random.Random], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
}


def make_cfg(format_name: str, folder: Path) -> CfgNode:
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.OUTPUT_DIR = str(folder / "output")
    custom = cfg.DATASETS.CUSTOM
    custom.FORMAT, custom.ROOT = format_name, str(folder)
    if format_name != "yolo":
        custom.TRAIN = custom.TEST = "train.json" if format_name == "coco" else "."
        custom.TRAIN_IMAGES = custom.TEST_IMAGES = "images"
    return cfg


def try_one(format_name: str, folder: Path, seed: int) -> str:
    """Write a damaged dataset and read it; returns "read" or "refused".

    Raises:
        Nonsense: something else happened.
    """
    rng = random.Random(seed)
    WRITERS[format_name](folder, rng)
    cfg = make_cfg(format_name, folder)
    if format_name == "voc" and seed % 2:
        # Lists are read from where VOC has them.
        cfg.DATASETS.CUSTOM.TRAIN, cfg.DATASETS.CUSTOM.TEST = "train", ""
        (folder / "Annotations").unlink(missing_ok=True)
        (folder / "Annotations").symlink_to(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            register_custom_datasets(cfg)
    except (ValueError, OSError) as error:
        _check_refusal(error, folder, seed)
        return "refused"
    except Exception as error:
        raise Nonsense(f"{format_name}, seed {seed}: {type(error).__name__}: {error}") from error
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        _check_dataset(name, seed)
    if format_name == "coco":
        _check_nothing_is_lost(folder / "train.json", cfg.DATASETS.TRAIN[0], seed)
    return "read"


def _check_refusal(error: Exception, folder: Path, seed: int) -> None:
    message = str(error)
    names_it = folder.name in message or "DATASETS.CUSTOM" in message
    if isinstance(error, UnicodeError) or "\n" in message or not names_it or len(message) > 2000:
        raise Nonsense(f"seed {seed}: {type(error).__name__}: {message}") from error


def _check_dataset(name: str, seed: int) -> None:
    num_classes = len(MetadataCatalog.get(name).thing_classes)
    records = DatasetCatalog.get(name)
    ids = [record["image_id"] for record in records]
    right = len(set(ids)) == len(ids) > 0
    for record in records:
        right &= record["width"] == WIDTH and record["height"] == HEIGHT
        right &= Path(record["file_name"]).is_file()
        for annotation in record["annotations"]:
            x0, y0, x1, y1 = annotation["bbox"]
            right &= annotation["bbox_mode"] == BoxMode.XYXY_ABS
            right &= -0.02 <= x0 < x1 <= WIDTH + 0.02 and -0.02 <= y0 < y1 <= HEIGHT + 0.02
            right &= 0 <= annotation["category_id"] < num_classes
            right &= annotation["iscrowd"] in (0, 1)
    if not right:
        raise Nonsense(f"seed {seed}: {records}")


def _check_nothing_is_lost(path: Path, name: str, seed: int) -> None:
    """All annotations of the file are objects, or counted as dropped."""
    summary = load_table(name).report.summary
    kept, dropped = re.match(r"\d+ images, (\d+) boxes(?:; dropped (\d+))?", summary).groups()
    content = json.loads(path.read_bytes())
    if int(kept) + int(dropped or 0) != len(content["annotations"]):
        raise Nonsense(f"seed {seed}: {summary} of {content['annotations']}")
    with open(MetadataCatalog.get(name).json_file) as file:
        if len(json.load(file)["annotations"]) != int(kept):
            raise Nonsense(f"seed {seed}: the ground truth differs from {summary}")


def fuzz(format_name: str, folder: Path, seeds: range) -> dict[str, int]:
    """Try many damaged datasets; returns how many were read and how many refused."""
    write_images(folder / "images")
    logger = logging.getLogger("autoassign")
    level = logger.level
    logger.setLevel(logging.ERROR)
    outcomes = {"read": 0, "refused": 0}
    try:
        for seed in seeds:
            outcomes[try_one(format_name, folder, seed)] += 1
    finally:
        logger.setLevel(level)
    return outcomes

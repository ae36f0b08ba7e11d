"""The generated quick-start dataset, written as an ordinary COCO-format folder.

``python -m autoassign.data.shapes --output DIR`` makes, by default in datasets/shapes::

    DIR/shapes.json              the parameters it was made with
    DIR/annotations/train.json   COCO annotations (bbox, area, iscrowd), likewise val.json
    DIR/train/000001.jpg ...     images, likewise val/
"""

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

from .register import SHAPES_FOLDER
from .shape_scenes import CLASS_NAMES, IMAGE_SIZE, SceneObject, draw_scene

__all__ = ["generate_shapes", "main"]

FORMAT_VERSION = 1  # to be raised whenever the same parameters give other images or annotations
PARAMETERS_FILE = "shapes.json"
SPLITS = ("train", "val")


def generate_shapes(
    output_dir: str | Path, *, num_train: int = 2000, num_val: int = 200, seed: int = 0
) -> Path:
    """Write the dataset, unless it is there already, made with the same parameters.

    An image depends on ``seed``, its split and its number only. The folder appears under its name
    when it is complete; an older one, made with other parameters, is replaced then.

    Args:
        output_dir: the folder to make.
        num_train: images of the split "train", at least 1.
        num_val: images of the split "val", at least 1.
        seed: not negative.

    Returns:
        ``output_dir``.

    Raises:
        ValueError: a number of images or the seed is out of range.
        FileExistsError: ``output_dir`` holds something that this function did not make. Nothing
            is changed then.
    """
    if num_train < 1 or num_val < 1 or seed < 0:
        raise ValueError(
            "num_train and num_val must be at least 1 and seed at least 0, got "
            f"num_train={num_train}, num_val={num_val}, seed={seed}"
        )
    output_dir = Path(output_dir)
    parameters = {
        "format_version": FORMAT_VERSION,
        "num_train": num_train,
        "num_val": num_val,
        "seed": seed,
    }
    if _parameters_of(output_dir) == parameters:
        return output_dir

    target = output_dir.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since a folder can be renamed within one file system only.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        made = Path(temporary, "new")
        for split, num_images in zip(SPLITS, (num_train, num_val), strict=True):
            _write_split(made, split, num_images, seed)
        Path(made, PARAMETERS_FILE).write_text(json.dumps(parameters, indent=2) + "\n")
        if target.exists():
            target.rename(Path(temporary, "old"))
        made.rename(target)
    return output_dir


def _parameters_of(folder: Path) -> dict[str, int] | None:
    """What an existing dataset was made with; None where there is nothing yet."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    ours = {PARAMETERS_FILE, "annotations", *SPLITS}
    if not (folder / PARAMETERS_FILE).is_file() or {p.name for p in folder.iterdir()} - ours:
        raise FileExistsError(
            f"{folder} exists and holds other files than a generated shapes dataset: "
            "give another folder, or move it away"
        )
    return json.loads((folder / PARAMETERS_FILE).read_text())


def _write_split(root: Path, split: str, num_images: int, seed: int) -> None:
    image_dir = root / split
    image_dir.mkdir(parents=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(num_images):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        image, objects = draw_scene(rng)
        image_id, file_name = index + 1, f"{index + 1:06d}.jpg"
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        (image_dir / file_name).write_bytes(encoded.tobytes())
        images.append(
            {"id": image_id, "file_name": file_name, "width": IMAGE_SIZE, "height": IMAGE_SIZE}
        )
        for obj in objects:
            annotations.append(_coco_annotation(obj, len(annotations) + 1, image_id))
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, start=1)]
    dataset = {
        "info": {"description": f"autoassign generated shapes, {split}, seed {seed}"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    annotation_file = root / "annotations" / f"{split}.json"
    annotation_file.parent.mkdir(exist_ok=True)
    annotation_file.write_text(json.dumps(dataset))


def _coco_annotation(obj: SceneObject, annotation_id: int, image_id: int) -> dict[str, object]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": obj.category + 1,
        "bbox": list(obj.box),
        "area": int(obj.visible.sum()),
        "iscrowd": 0,
    }


def main(argv: list[str] | None = None) -> None:
    """Run the command line; bad arguments exit with code 2."""
    parser = argparse.ArgumentParser(description="Generate the quick-start dataset.")
    parser.add_argument(
        "--output", type=Path, default=SHAPES_FOLDER, metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--num-train", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--num-val", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        folder = generate_shapes(
            args.output, num_train=args.num_train, num_val=args.num_val, seed=args.seed
        )
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print(f"{folder}: {args.num_train} training and {args.num_val} held-out images")


if __name__ == "__main__":
    main()

r"""Train a YOLO of Ultralytics for a given time, and evaluate it as this project evaluates.

    python tools/ultralytics_baseline.py --train train.json FOLDER --test test.json FOLDER \
        --minutes 9 --seeds 2 --output output/yolov8n

Annotations are COCO files, each with its folder of images. For VOC and YOLO folders, `autoassign
check-data --output DIR` writes those of the test split to DIR/ground_truth, and those of the
training split with DATASETS.CUSTOM.TEST set to it.

The network starts from random weights. The settings are Ultralytics' own but for the time, the size
of the images and the threads; nothing is validated during the training. The detections that its
validation makes in the test images (up to 300 an image), DIR/seed<k>/detections.json, are evaluated
by pycocotools. Finished seeds are not repeated.

Written for ultralytics 8.4, whose validation counts classes from 1.

The script belongs to no package and needs an environment of its own, but no network:

    python -m venv ultralytics_env
    ultralytics_env/bin/pip install ultralytics pycocotools
    ultralytics_env/bin/python tools/ultralytics_baseline.py ...
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import time
from pathlib import Path
from statistics import fmean, stdev

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def work_offline(folder: Path) -> None:
    """Let Ultralytics, not yet imported, neither look for a network nor download fonts."""
    from matplotlib import font_manager

    os.environ |= {
        "YOLO_OFFLINE": "True",
        "YOLO_AUTOINSTALL": "False",
        "YOLO_CONFIG_DIR": str(folder),
    }
    fonts = folder / "Ultralytics"
    fonts.mkdir(parents=True, exist_ok=True)
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        shutil.copy(font_manager.findfont("DejaVu Sans"), fonts / name)


def write_split(
    annotation_file: Path, image_folder: Path, categories: list[dict], folder: Path
) -> None:
    """Images and labels of a COCO file in the layout of Ultralytics.

    Images are copied, because Ultralytics rewrites files that it finds damaged.
    """
    content = json.loads(annotation_file.read_text())
    if sorted_categories(content) != categories:
        raise SystemExit(f"{annotation_file}: its categories are not those of the training split")
    classes = {x["id"]: i for i, x in enumerate(categories)}
    lines = {image["id"]: [] for image in content["images"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd"):
            continue
        width, height = sizes[annotation["image_id"]]
        x, y, w, h = annotation["bbox"]
        box = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
        values = " ".join(f"{value:.8f}" for value in box)
        lines[annotation["image_id"]].append(f"{classes[annotation['category_id']]} {values}\n")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for image in content["images"]:
        source = image_folder / image["file_name"]
        shutil.copy(source, folder / "images" / f"{image['id']}{source.suffix}")
        (folder / "labels" / f"{image['id']}.txt").write_text("".join(lines[image["id"]]))


def sorted_categories(content: dict) -> list[dict]:
    """Ids and names of the categories of a COCO file in the order of the ids."""
    categories = [{"id": x["id"], "name": x["name"]} for x in content["categories"]]
    return sorted(categories, key=lambda x: x["id"])


def train(args: argparse.Namespace, data_file: Path, seed: int, folder: Path):
    """The trained network, the minutes and the epochs that it took."""
    from ultralytics import YOLO
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = args.threads  # in place of one less than the cores
    model = YOLO(args.model)
    times = []
    for event in ("on_train_start", "on_train_epoch_end"):
        model.add_callback(event, lambda _: times.append(time.monotonic()))
    model.train(
        data=str(data_file),
        time=args.minutes / 60,
        imgsz=args.image_size,
        seed=seed,
        pretrained=False,
        device="cpu",
        workers=0,
        val=False,
        plots=False,
        project=str(folder.absolute()),
        name="training",
        exist_ok=True,
    )
    # Its averaged weights at the end, not those of the best validation.
    trained = YOLO(folder / "training" / "weights" / "last.pt")
    return trained, (times[-1] - times[0]) / 60, len(times) - 1


def detect(model, data_file: Path, category_ids: list[int], image_size: int, folder: Path):
    """Detections of the test images by Ultralytics' own validation, as COCO results."""
    results_file = folder / "validation" / "predictions.json"
    results_file.unlink(missing_ok=True)
    model.val(
        data=str(data_file),
        imgsz=image_size,
        device="cpu",
        workers=0,
        plots=False,
        save_json=True,
        project=str(folder.absolute()),
        name="validation",
        exist_ok=True,
    )
    if not results_file.exists():  # nothing was detected
        return []
    results = json.loads(results_file.read_text())
    if min(x["category_id"] for x in results) < 1:
        raise SystemExit("this version of ultralytics does not count classes from 1")
    # The files are named by the ids of the images.
    return [{**x, "category_id": category_ids[x["category_id"] - 1]} for x in results]


def evaluate(annotation_file: Path, results: list[dict]) -> dict[str, float]:
    """COCO's metrics by pycocotools, in percent, of what there are objects of."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file))
        if not results:  # loadRes cannot take none: one without any overlap, of the least score
            image, category = min(truth.imgs), min(truth.cats)
            results = [
                {"image_id": image, "category_id": category, "bbox": [-9, -9, 1, 1], "score": 0}
            ]
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = dict(zip(METRICS, (100 * evaluation.stats[: len(METRICS)]).tolist(), strict=True))
    # Axes: IoU, recall, class, size, number of detections; -1 where there is no object.
    of_classes = evaluation.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
    names = [f"AP-{x['name']}" for x in truth.loadCats(evaluation.params.catIds)]
    metrics |= dict(zip(names, (100 * of_classes).tolist(), strict=True))
    return {name: value for name, value in metrics.items() if value >= 0}


def run_seed(args: argparse.Namespace, data_file: Path, seed: int) -> dict[str, float]:
    """Metrics, minutes and epochs of one training, which are kept in its folder."""
    folder = args.output / f"seed{seed}"
    row_file = folder / "metrics.json"
    settings = {
        name: str(value) for name, value in vars(args).items() if name not in ("output", "seeds")
    }
    if row_file.exists():
        content = json.loads(row_file.read_text())
        if content["settings"] != settings:
            raise SystemExit(
                f"{folder} was trained with {content['settings']}: give another --output"
            )
        return content["metrics"]
    annotation_file, _ = args.test
    category_ids = [x["id"] for x in sorted_categories(json.loads(annotation_file.read_text()))]
    model, minutes, epochs = train(args, data_file, seed, folder)
    results = detect(model, data_file, category_ids, args.image_size, folder)
    (folder / "detections.json").write_text(json.dumps(results))
    row = {**evaluate(annotation_file, results), "minutes": minutes, "epochs": epochs}
    row_file.write_text(json.dumps({"settings": settings, "metrics": row}) + "\n")
    return row


def summary(values: list[float]) -> str:
    """Mean ± sample standard deviation."""
    error = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{fmean(values):.2f}{error}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for split in ("--train", "--test"):
        parser.add_argument(
            split, type=Path, nargs=2, required=True, metavar=("JSON", "FOLDER"), help="COCO"
        )
    parser.add_argument("--minutes", type=float, required=True, help="of each training")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="yolov8n.yaml", help="such as yolo11n.yaml")
    parser.add_argument("--image-size", type=int, default=640, help="of the longer side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="trainings, with seeds 1, 2, ...")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")

    work_offline(args.output / "settings")
    data = args.output / "data"
    categories = sorted_categories(json.loads(args.train[0].read_text()))
    write_split(*args.train, categories, data / "train")
    write_split(*args.test, categories, data / "test")
    data_file = data / "data.yaml"
    # JSON is YAML.
    splits = {"path": str(data.absolute()), "train": "train/images", "val": "test/images"}
    data_file.write_text(json.dumps({**splits, "names": [x["name"] for x in categories]}))

    rows = [run_seed(args, data_file, seed) for seed in range(1, args.seeds + 1)]
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:12}  {summary(values):>14}   {'  '.join(f'{x:.2f}' for x in values)}")


if __name__ == "__main__":
    main()

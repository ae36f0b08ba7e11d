"""FastCOCOEvaluator against detectron2's COCOEvaluator, which uses pycocotools."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, coco_evaluation
from detectron2.structures import Boxes, BoxMode, Instances

from autoassign.engine.launch import leave_process_group
from autoassign.evaluation import FastCOCOEvaluator

NUM_CLASSES = 5
IMAGE_SIZE = 256
METRICS = {"AP", "AP50", "AP75", "APs", "APm", "APl"}


def random_dataset(rng: np.random.Generator, image_ids: list) -> dict:
    """COCO ground truth with crowds, images without objects and, often, classes with one."""
    annotations = []
    for image_id in image_ids:
        for _ in range(rng.integers(0, 6)):
            size = rng.choice([12, 40, 110], size=2) + rng.integers(0, 10, size=2)
            box = [*rng.integers(0, IMAGE_SIZE - size).tolist(), *size.tolist()]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    # The last class never has an object, the others become rarer.
                    "category_id": int(min(rng.geometric(0.5), NUM_CLASSES - 1)) * 10,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
    return {
        "images": [{"id": i, "height": IMAGE_SIZE, "width": IMAGE_SIZE} for i in image_ids],
        "annotations": annotations,
        "categories": [{"id": (k + 1) * 10, "name": f"class{k}"} for k in range(NUM_CLASSES)],
    }


def random_predictions(rng: np.random.Generator, dataset: dict) -> list[tuple[dict, dict]]:
    """Objects found roughly, or twice, or not, and false alarms; scores with many ties."""
    pairs = []
    for image in dataset["images"]:
        boxes, classes = [], []
        for annotation in dataset["annotations"]:
            if annotation["image_id"] == image["id"]:
                for _ in range(rng.integers(0, 3)):
                    x, y, w, h = np.add(annotation["bbox"], rng.integers(-4, 5, size=4))
                    boxes.append([x, y, x + w, y + h])
                    classes.append(annotation["category_id"] // 10 - 1)
        for _ in range(rng.integers(0, 3)):
            x, y, w, h = rng.integers(1, 100, size=4)
            boxes.append([x, y, x + w, y + h])
            classes.append(rng.integers(NUM_CLASSES))
        keep = rng.random() < 0.8  # else an image without predictions
        instances = Instances(
            (IMAGE_SIZE, IMAGE_SIZE),
            pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
            scores=torch.tensor(rng.integers(1, 11, size=len(boxes)) / 10, dtype=torch.float32),
            pred_classes=torch.tensor(np.array(classes, dtype=np.int64)),
        )
        pairs.append(
            ({"image_id": image["id"]}, {"instances": instances if keep else instances[:0]})
        )
    return pairs


@pytest.fixture
def register(tmp_path):
    """Function that registers a COCO dataset under a new name, forgotten after the test."""
    names = []

    def register_json(dataset: dict) -> str:
        name = f"test_coco_{tmp_path.name}_{len(names)}"
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(dataset))
        category_ids = [c["id"] for c in dataset["categories"]]
        MetadataCatalog.get(name).set(
            json_file=str(file),
            thing_classes=[c["name"] for c in dataset["categories"]],
            thing_dataset_id_to_contiguous_id={c: i for i, c in enumerate(category_ids)},
        )
        names.append(name)
        return name

    yield register_json
    for name in names:
        MetadataCatalog.remove(name)


def run(evaluator: COCOEvaluator, pairs: list[tuple[dict, dict]], **kwargs) -> dict:
    evaluator.reset()
    for inputs, outputs in pairs:
        evaluator.process([inputs], [outputs])
    return evaluator.evaluate(**kwargs)


def assert_equal(actual: dict, expected: dict) -> None:
    """The same metrics in the same order, NaN at the same places."""
    assert list(actual["bbox"]) == list(expected["bbox"])
    np.testing.assert_allclose(
        list(actual["bbox"].values()), list(expected["bbox"].values()), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(20))
def test_numbers_equal_pycocotools(register, seed):
    rng = np.random.default_rng(seed)
    dataset = random_dataset(rng, image_ids=list(range(1, 13)))
    pairs = random_predictions(rng, dataset)
    name = register(dataset)
    results = run(FastCOCOEvaluator(name), pairs)
    assert set(results["bbox"]) == METRICS | {f"AP-class{k}" for k in range(NUM_CLASSES)}
    assert_equal(results, run(COCOEvaluator(name), pairs))


@pytest.mark.parametrize(
    "image_ids",
    [["b_10", "a_2", "b_9", "000007", "c"], [2**40 + 3, 5, 2**33, 0, 17]],
    ids=["strings", "large integers"],
)
def test_image_ids_of_any_type(register, image_ids):
    rng = np.random.default_rng(3)
    dataset = random_dataset(rng, image_ids)
    pairs = random_predictions(rng, dataset)
    name = register(dataset)
    results = run(FastCOCOEvaluator(name), pairs)
    assert results["bbox"]["AP"] > 0
    assert_equal(results, run(COCOEvaluator(name), pairs))


@pytest.mark.parametrize("image_ids", [[4, 2, 9, 7], ["d", "b", "c", "a"]], ids=["int", "str"])
def test_a_selection_of_images(register, image_ids):
    rng = np.random.default_rng(5)
    dataset = random_dataset(rng, image_ids)
    pairs = random_predictions(rng, dataset)
    name, selected = register(dataset), image_ids[:2]
    results = run(FastCOCOEvaluator(name), pairs, img_ids=selected)
    assert_equal(results, run(COCOEvaluator(name), pairs, img_ids=selected))


def test_repeated_evaluation_gives_the_same(register):
    rng = np.random.default_rng(6)
    dataset = random_dataset(rng, image_ids=["x", "y", "z"])
    pairs = random_predictions(rng, dataset)
    evaluator = FastCOCOEvaluator(register(dataset))
    assert_equal(run(evaluator, pairs), run(evaluator, pairs))


def test_ap_is_0_where_objects_exist_and_nothing_is_detected(register):
    dataset = random_dataset(np.random.default_rng(7), image_ids=[1])
    dataset["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 10, "bbox": [0, 0, 50, 50], "area": 2500}
    ]
    empty = random_predictions(np.random.default_rng(0), dataset)[0][1]["instances"][:0]
    results = run(FastCOCOEvaluator(register(dataset)), [({"image_id": 1}, {"instances": empty})])
    zero = {"AP", "AP50", "AP75", "APm", "AP-class0"}
    assert {key for key, value in results["bbox"].items() if value == 0} == zero
    # There are no small and no large objects, and none of the other classes.
    assert {key for key, value in results["bbox"].items() if math.isnan(value)} == set(
        results["bbox"]
    ) - zero


@pytest.mark.parametrize("objects", [0, 1], ids=["no object", "crowd only"])
def test_ap_is_nan_where_there_is_nothing_to_detect(register, objects):
    dataset = random_dataset(np.random.default_rng(7), image_ids=[1])
    crowd = {"bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 1}
    dataset["annotations"] = [{"id": 1, "image_id": 1, "category_id": 10, **crowd}][:objects]
    predictions = random_predictions(np.random.default_rng(0), dataset)
    results = run(FastCOCOEvaluator(register(dataset)), predictions)
    assert math.isnan(results["bbox"]["AP"])


def renumbered(dataset: dict, annotation_id, category_id) -> dict:
    return {
        **dataset,
        "annotations": [
            {**x, "id": annotation_id(i), "category_id": category_id(x["category_id"])}
            for i, x in enumerate(dataset["annotations"])
        ],
        "categories": [{**x, "id": category_id(x["id"])} for x in dataset["categories"]],
    }


@pytest.mark.parametrize(
    "annotation_id",
    [lambda i: -i, lambda i: 2**63 + i, lambda i: i % 3, lambda i: f"a{i}"],
    ids=["negative", "2^63", "repeated", "strings"],
)
@pytest.mark.parametrize("category_id", [lambda k: k, lambda k: k + 2**31], ids=["small", "2^31"])
def test_ids_of_any_kind_give_the_same(register, annotation_id, category_id):
    rng = np.random.default_rng(4)
    dataset = random_dataset(rng, image_ids=[1, 2, 3, 4])
    pairs = random_predictions(rng, dataset)
    expected = run(COCOEvaluator(register(dataset), use_fast_impl=False), pairs)
    assert expected["bbox"]["AP"] > 0
    other = register(renumbered(dataset, annotation_id, category_id))
    assert_equal(run(FastCOCOEvaluator(other), pairs), expected)


def test_a_detection_of_a_foreign_image_is_an_error(register):
    dataset = random_dataset(np.random.default_rng(4), image_ids=[1, 2])
    pairs = random_predictions(np.random.default_rng(5), dataset)
    instances = next(x["instances"] for _, x in pairs if len(x["instances"]))
    with pytest.raises(ValueError, match="of image 99, not in the dataset"):
        run(FastCOCOEvaluator(register(dataset)), [({"image_id": 99}, {"instances": instances})])


@pytest.mark.parametrize("limit", [1, 3, 300])
def test_another_limit_of_detections(register, limit):
    rng = np.random.default_rng(12)
    dataset = random_dataset(rng, image_ids=[1, 2, 3])
    pairs = random_predictions(rng, dataset)
    name = register(dataset)
    assert_equal(
        run(FastCOCOEvaluator(name, max_dets_per_image=limit), pairs),
        run(COCOEvaluator(name, max_dets_per_image=limit), pairs),
    )


def test_no_processed_image_gives_no_result(register):
    dataset = random_dataset(np.random.default_rng(8), image_ids=[1, 2])
    assert run(FastCOCOEvaluator(register(dataset)), []) == {}


def test_tables_are_logged_and_faster_coco_eval_is_used(register, caplog, monkeypatch):
    rng = np.random.default_rng(9)
    dataset = random_dataset(rng, image_ids=[1, 2, 3])
    pairs = random_predictions(rng, dataset)
    # pycocotools' matching must not run.
    monkeypatch.setattr(coco_evaluation.COCOeval, "evaluateImg", None)
    with caplog.at_level(logging.INFO):
        run(FastCOCOEvaluator(register(dataset)), pairs)
    assert "Evaluation results for bbox" in caplog.text
    assert "Per-category bbox AP" in caplog.text
    assert "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100" in caplog.text


def dataset_dicts(box: list[float]) -> list[dict]:
    annotation = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    return [
        {
            "file_name": "none.jpg",
            "image_id": "img_a",
            "height": 100,
            "width": 100,
            "annotations": [annotation],
        }
    ]


def test_converted_dataset_is_not_taken_from_an_earlier_run(tmp_path):
    """The same output folder, first with one ground truth, then with another."""
    instances = Instances(
        (100, 100),
        pred_boxes=Boxes(torch.tensor([[50.0, 50.0, 90.0, 90.0]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([0]),
    )
    name, results = f"test_converted_{tmp_path.name}", []
    for box in ([0.0, 0.0, 40.0, 40.0], [50.0, 50.0, 90.0, 90.0]):
        DatasetCatalog.register(name, lambda box=box: dataset_dicts(box))
        MetadataCatalog.get(name).set(thing_classes=["only"])
        try:
            evaluator = FastCOCOEvaluator(name, output_dir=str(tmp_path))
            results.append(run(evaluator, [({"image_id": "img_a"}, {"instances": instances})]))
        finally:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    assert results[0]["bbox"]["AP"] == 0
    assert results[1]["bbox"]["AP"] == pytest.approx(100)
    saved = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert saved[0]["image_id"] == "img_a"


def _evaluate_on_worker(rank: int, folder: str, json_file: str, seed: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    dataset = json.loads(Path(json_file).read_text())
    pairs = random_predictions(np.random.default_rng(seed), dataset)
    category_ids = [c["id"] for c in dataset["categories"]]
    MetadataCatalog.get("test_coco_worker").set(
        json_file=json_file,
        thing_classes=[c["name"] for c in dataset["categories"]],
        thing_dataset_id_to_contiguous_id={c: i for i, c in enumerate(category_ids)},
    )
    half = len(pairs) // 2
    part = pairs[:half] if rank == 0 else pairs[half:]
    results = run(FastCOCOEvaluator("test_coco_worker"), part)
    Path(folder, f"results_{rank}.json").write_text(json.dumps(results))
    leave_process_group()


def test_predictions_are_gathered_from_all_workers(register, tmp_path):
    dataset = random_dataset(np.random.default_rng(11), image_ids=[1, 2, 3, 4])
    name = register(dataset)
    json_file = MetadataCatalog.get(name).json_file
    mp.spawn(_evaluate_on_worker, args=(str(tmp_path), json_file, 12), nprocs=2)
    pairs = random_predictions(np.random.default_rng(12), dataset)
    assert json.loads((tmp_path / "results_1.json").read_text()) == {}
    main_results = json.loads((tmp_path / "results_0.json").read_text())
    assert_equal(main_results, run(COCOEvaluator(name), pairs))

"""Whole steps of detectors, timed part by part."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from narrow_model import narrow_model

from autoassign.analysis.benchmark import (
    build_detector,
    make_batch,
    make_batch_like,
    steps,
    time_inference,
    time_training,
)


@pytest.mark.parametrize(
    ("measure", "parts"),
    [
        (time_training, {"data", "backbone", "head", "loss", "backward", "optimizer", "step"}),
        (time_inference, {"data", "backbone", "head", "loss", "step"}),
    ],
)
def test_a_row_for_each_detector_whose_parts_make_the_step(measure, parts):
    detectors = {"first": narrow_model(), "second": narrow_model()}
    before = {name: x.clone() for name, x in detectors["second"].state_dict().items()}
    rows = measure(detectors, make_batch(2, (128, 160), 3, num_classes=5), rounds=1)
    assert [row.name for row in rows] == ["first", "second"]
    assert rows[0].ratio == 1
    for row in rows:
        assert set(row.seconds) == parts
        total = sum(row.seconds.values()) - row.seconds["step"]
        assert row.seconds["step"] == pytest.approx(total)
        assert row.images_per_second == pytest.approx(2 / row.seconds["step"])
    weight = "head.cls_score.weight"
    after = detectors["second"].state_dict()[weight]
    torch.testing.assert_close(after, before[weight], rtol=0, atol=1e-6)


@pytest.mark.cuda
def test_peak_memory_is_that_of_one_detector_at_a_time():
    large = build_detector("FCOS", device="cuda")  # weights, gradients and momentum: 370 MiB
    small = narrow_model("MODEL.DEVICE", "cuda")
    batch = make_batch(1, (128, 160), 3, num_classes=5)
    [alone] = time_training({"small": small}, batch, rounds=1)
    *_, beside = time_training({"large": large, "small": small}, batch, rounds=1)
    assert beside.peak_mb == pytest.approx(alone.peak_mb, rel=0.1)


@pytest.mark.parametrize(
    ("name", "channels_last"),
    [("d2-FCOS", False), ("d2-FCOS+fast", True), ("AutoAssign+fast", True)],
)
def test_a_detector_of_any_project_takes_the_fast_options(name, channels_last):
    weight = next(x for x in build_detector(name).head.parameters() if x.dim() == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


def write_coco(path: Path, sizes: list[tuple[int, int]], objects: list[tuple]) -> Path:
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": height, "width": width}
        for i, (height, width) in enumerate(sizes)
    ]
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
        for i, (image, category, box, crowd) in enumerate(objects)
    ]
    categories = [{"id": i, "name": f"class {i}"} for i in range(8)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def test_objects_of_a_dataset_are_cleaned_and_scaled_with_the_image(tmp_path):
    objects = [
        (0, 1, [10, 20, 20, 20], 0),
        (0, 1, [0, 0, 90, 40], 1),
        (2, 7, [20, 40, 80, 900], 0),
    ]
    path = write_coco(tmp_path / "a.json", [(50, 100), (10, 10), (400, 200)], objects)
    first, last = (x["instances"] for x in make_batch_like(path, 2, (100, 400), num_classes=5))
    assert first.gt_boxes.tensor.tolist() == [[40, 40, 120, 80]]
    assert last.gt_boxes.tensor.tolist() == [[40, 10, 200, 100]]
    assert (first.gt_classes.tolist(), last.gt_classes.tolist()) == ([1], [2])


def test_images_without_a_size_are_no_dataset_to_imitate(tmp_path):
    path = write_coco(tmp_path / "a.json", [(0, 0)], [])
    with pytest.raises(ValueError, match=r"a\.json must have images, and their height and width"):
        make_batch_like(path, 2, (100, 400))


@pytest.mark.parametrize("name", ["d2-FCOS", "d2-RetinaNet"])
def test_detectron2s_detectors_train_under_autocast(name):
    model = build_detector(f"{name}+fast")
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    with EventStorage():
        losses = model(make_batch(1, (128, 160), 3))
    assert all(x.dtype == torch.bfloat16 for x in seen)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["AutoAssign", "d2-FCOS"])
def test_fast_detectors_run_under_autocast_on_a_gpu(name):
    model = build_detector(f"{name}+fast", device="cuda")
    types = []
    model.head.register_forward_pre_hook(lambda _, inputs: types.append(inputs[0][0].dtype))
    [row] = time_training({name: model}, make_batch(1, (128, 160), 3), rounds=1)
    assert set(types) == {torch.bfloat16}
    assert row.seconds["step"] > 0


def test_detectors_that_run_out_of_memory_leave_the_others_their_rows():
    def run_out(*_):
        raise torch.cuda.OutOfMemoryError

    detectors = {name: narrow_model() for name in ("first", "second", "third")}
    batch = make_batch(1, (128, 160), 3, num_classes=5)
    detectors["first"].head.register_forward_hook(run_out)
    rows = time_training(detectors, batch, rounds=1)
    assert [row.name for row in rows] == ["second", "third"]
    assert rows[0].ratio == 1
    with pytest.raises(torch.cuda.OutOfMemoryError):
        time_training({"first": detectors["first"]}, batch, rounds=1)


def test_an_unknown_detector_is_an_error_with_the_known_names():
    with pytest.raises(ValueError, match=r"no detector 'FCOS\+slow'; it may be one of: .*d2-FCOS"):
        build_detector("FCOS+slow")


def test_a_detector_holds_its_tensors_gradients_and_momentum():
    model = narrow_model()
    weights = sum(x.nbytes for x in model.parameters())
    trained = sum(x.nbytes for x in model.parameters() if x.requires_grad)
    buffers = sum(x.nbytes for x in model.buffers())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
    assert steps._held_bytes(model, optimizer) == weights + buffers
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert steps._held_bytes(model, optimizer) == weights + buffers + 2 * trained

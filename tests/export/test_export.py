"""Exported files beside PyTorch: any number and size of images, detections and dense outputs."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from detectors import CLASS_NAMES, picture
from full_disk import file_size_limit
from narrow_model import narrow_cfg, narrow_model
from torch import Tensor, nn
from torchvision.ops import batched_nms

from autoassign.export import compare_onnx, export_detector, write_int8
from autoassign.export.suppression import keep_per_class

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

OPTIONS = ("INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 192)
# Batches of other sizes than the one that was traced; multiples of 32 and not.
SHAPES = [(1, 96, 96), (3, 97, 130), (2, 160, 64), (1, 200, 333)]


def detector(*options: object) -> nn.Module:
    """A detector that finds objects everywhere, some of them partly outside the image."""
    model = narrow_model("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.1, *options).eval()
    torch.manual_seed(0)
    nn.init.normal_(model.head.cls_score.weight, std=0.3)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export")
    export_detector(detector(), narrow_cfg(*OPTIONS), CLASS_NAMES, path)
    return path


def session(path: Path) -> "onnxruntime.InferenceSession":
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def batch(num: int, height: int, width: int) -> Tensor:
    images = [picture(height, width, seed).transpose(2, 0, 1) for seed in range(num)]
    return torch.from_numpy(np.stack(images)).float()


@torch.no_grad()
def assert_detections(outputs: list[np.ndarray], model: nn.Module, images: Tensor) -> None:
    expected = [x["instances"] for x in model([{"image": image} for image in images])]
    assert sum(map(len, expected)) > 0
    for boxes, scores, classes, instances in zip(*outputs, expected, strict=True):
        count = len(instances)
        np.testing.assert_allclose(boxes[:count], instances.pred_boxes.tensor, atol=1e-2)
        np.testing.assert_allclose(scores[:count], instances.scores, atol=1e-4)
        np.testing.assert_array_equal(classes[:count], instances.pred_classes)
        assert not scores[count:].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_finds_what_pytorch_finds(folder, shape):
    images = batch(*shape)
    outputs = session(folder / "model.onnx").run(None, {"images": images.numpy()})
    assert_detections(outputs, detector(), images)


def test_the_precision_of_evaluation_is_not_exported(tmp_path):
    model = detector("TEST.PRECISION", "bfloat16")
    export_detector(model, narrow_cfg(*OPTIONS), CLASS_NAMES, tmp_path)
    images = batch(*SHAPES[0])
    outputs = session(tmp_path / "model.onnx").run(None, {"images": images.numpy()})
    assert_detections(outputs, detector(), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_torchscript_finds_what_pytorch_finds(folder, shape):
    assert torchvision  # registers NMS
    images = batch(*shape)
    with torch.no_grad():
        outputs = torch.jit.load(folder / "model.torchscript")(images)
    assert_detections([x.numpy() for x in outputs], detector(), images)


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.LABEL_ASSIGNMENT.NAME", "FCOS"),
        ("TEST.DETECTIONS_PER_IMAGE", 5),
        ("MODEL.POINT_HEAD.TOPK_CANDIDATES_TEST", 7),
    ],
)
def test_other_heads_and_limits(tmp_path, options):
    if options[-1] == "FCOS":
        options += ("MODEL.POINT_HEAD.OBJECTNESS", "none", "MODEL.POINT_HEAD.LOCATION_OFFSET", 0.5)
    model, images = detector(*options), batch(2, 97, 130)
    export_detector(model, narrow_cfg(*options), CLASS_NAMES, tmp_path, formats=["onnx"])
    outputs = session(tmp_path / "model.onnx").run(None, {"images": images.numpy()})
    assert outputs[1].shape[1] == model.max_detections_per_image
    assert_detections(outputs, model, images)


@pytest.mark.parametrize("name", ["onnx", "torchscript"])
def test_without_nms_every_location_is_returned(tmp_path, name):
    written = export_detector(
        detector(), narrow_cfg(), CLASS_NAMES, tmp_path, formats=[name], with_nms=False
    )
    assert [path.name for path in written] == [f"model.{name}"]
    images = batch(2, 97, 130)
    if name == "onnx":
        boxes, scores = session(written[0]).run(None, {"images": images.numpy()})
    else:
        with torch.no_grad():
            boxes, scores = (x.numpy() for x in torch.jit.load(written[0])(images))
    # 128 × 160 after padding, in strides of 8, 16, 32 and 64
    num_locations = 16 * 20 + 8 * 10 + 4 * 5 + 2 * 3
    assert boxes.shape == (2, num_locations, 4)
    assert scores.shape == (2, num_locations, 5)
    with torch.no_grad():
        best = detector()([{"image": images[1]}])[0]["instances"][0]
    location, index = np.unravel_index(scores[1].argmax(), scores[1].shape)
    assert index == best.pred_classes
    np.testing.assert_allclose(scores[1].max(), best.scores, atol=1e-4)
    np.testing.assert_allclose(boxes[1, location], best.pred_boxes.tensor[0], atol=1e-2)


def test_half_precision_takes_and_returns_float32(tmp_path):
    model = detector()
    export_detector(model, narrow_cfg(), CLASS_NAMES, tmp_path, formats=["onnx"], half=True)
    assert model.head.cls_score.weight.dtype == torch.float32  # it is not changed
    images = batch(1, 96, 128)
    boxes, scores, _ = session(tmp_path / "model.onnx").run(None, {"images": images.numpy()})
    assert boxes.dtype == scores.dtype == np.float32
    with torch.no_grad():
        expected = model([{"image": images[0]}])[0]["instances"]
    np.testing.assert_allclose(scores[0, 0], expected.scores[0], rtol=0.01)
    float32_size = sum(x.numel() * 4 for x in model.state_dict().values())
    assert (tmp_path / "model.onnx").stat().st_size < 0.7 * float32_size


def test_in_int8_the_scores_stay_near(folder, tmp_path):
    images = [batch(1, 96, 128).numpy(), batch(2, 120, 90)[1:].numpy()]
    write_int8(folder / "model.onnx", tmp_path / "int8.onnx", images)
    int8, float32 = session(tmp_path / "int8.onnx"), session(folder / "model.onnx")
    sizes = [path.stat().st_size for path in (tmp_path / "int8.onnx", folder / "model.onnx")]
    assert sizes[0] < 0.6 * sizes[1]
    for image in images:
        ours, theirs = (x.run(None, {"images": image})[1] for x in (int8, float32))
        assert (ours != theirs).any()
        np.testing.assert_allclose(ours[0, :10], theirs[0, :10], atol=0.05)
    properties = [x.get_modelmeta().custom_metadata_map for x in (int8, float32)]
    assert properties[0] == properties[1]


def test_the_files_say_what_they_need(folder):
    metadata = session(folder / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == CLASS_NAMES
    assert (metadata["min_size"], metadata["max_size"]) == ("96", "192")
    assert metadata["input_format"] == "BGR"
    files = {"metadata.json": ""}
    torch.jit.load(folder / "model.torchscript", _extra_files=files)
    assert json.loads(files["metadata.json"]) == metadata


def test_the_script_needs_no_more_than_numpy_opencv_and_onnxruntime(folder, tmp_path):
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), picture(120, 200))
    allow = ("cv2", "numpy", "onnxruntime", "json", "sys")
    source = (folder / "detect_onnx.py").read_text()
    imports = [line.split()[1] for line in source.splitlines() if line.startswith("import ")]
    assert sorted(imports) == sorted(allow)
    command = [sys.executable, "detect_onnx.py", "model.onnx", str(image)]
    done = subprocess.run(
        [*command, str(tmp_path / "result.png"), "0.1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) > 0
    assert lines[0].split()[0] in CLASS_NAMES
    result = cv2.imread(str(tmp_path / "result.png"))
    assert result.shape == (120, 200, 3)
    assert (result != cv2.imread(str(image))).any()


def test_the_script_keeps_the_size_where_the_config_does(folder, tmp_path):
    graph = onnx.load(folder / "model.onnx")
    metadata = {item.key: item.value for item in graph.metadata_props} | {"min_size": "0"}
    onnx.helper.set_model_props(graph, metadata)
    onnx.save(graph, tmp_path / "model.onnx")
    cv2.imwrite(str(tmp_path / "image.png"), picture(120, 200))
    command = [sys.executable, folder / "detect_onnx.py", "model.onnx", "image.png", "result.png"]
    subprocess.run([*command, "0.1"], cwd=tmp_path, check=True, capture_output=True)
    assert cv2.imread(str(tmp_path / "result.png")).shape == (120, 200, 3)


def test_the_comparison_counts_what_differs(folder):
    images = [picture(120, 200, seed) for seed in range(2)]
    cfg = narrow_cfg(*OPTIONS)
    same = compare_onnx(folder / "model.onnx", detector(), cfg, images)
    assert same.num_images == 2
    assert same.num_detections > 0
    assert same.num_different == 0
    assert same.box_error < 1e-2
    assert same.score_error < 1e-4
    other = compare_onnx(
        folder / "model.onnx", detector("MODEL.POINT_HEAD.SCORE_THRESH_TEST", 0.9), cfg, images
    )
    assert other.num_different == same.num_detections - other.num_detections


@pytest.mark.parametrize("name", ["onnx", "torchscript"])
def test_a_full_disk_is_one_sentence(tmp_path, name):
    cfg = narrow_cfg(*OPTIONS)
    message = rf"model\.{name} cannot be written: "
    with file_size_limit(10_000), pytest.raises(OSError, match=message) as error:
        export_detector(detector(), cfg, CLASS_NAMES, tmp_path, formats=[name])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install autoassign\[export\]"):
        export_detector(detector(), narrow_cfg(), CLASS_NAMES, tmp_path, formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_nms_is_that_of_each_class_and_image():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(3, 60, 2, generator=generator) * 100
    boxes = torch.cat((corners, corners + 20 + 30 * torch.rand(3, 60, 2, generator=generator)), 2)
    scores = torch.rand(3, 60, generator=generator)
    scores[:, 50:] = 0  # no candidates
    classes = torch.randint(0, 4, (3, 60), generator=generator)
    keep = keep_per_class(boxes, scores, classes, 0.4)
    for i in range(3):
        expected = batched_nms(boxes[i, :50], scores[i, :50], classes[i, :50], 0.4)
        assert keep[i].nonzero()[:, 0].tolist() == sorted(expected.tolist())
        assert len(expected) < 50

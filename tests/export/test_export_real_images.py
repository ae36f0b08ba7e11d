"""Exported files beside PyTorch on photographs of many sizes."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from torch import nn

from autoassign.config import load_config
from autoassign.export import compare_onnx, export_detector

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
TINY_COCO = Path(__file__).resolve().parents[3] / "shared" / "data" / "tiny_coco" / "val2017"
NAMES = [f"class {index}" for index in range(80)]

pytestmark = pytest.mark.skipif(
    not TINY_COCO.is_dir(), reason=f"the COCO images are not in {TINY_COCO}"
)


@cache
def detector() -> tuple[CfgNode, nn.Module]:
    """The small detector, drawn so that it finds 100 objects in every image."""
    options = ["MODEL.DEVICE", "cpu", "MODEL.POINT_HEAD.NUM_CLASSES", len(NAMES)]
    cfg = load_config("Base-Small.yaml", options)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    nn.init.normal_(model.head.cls_score.weight, std=0.1)
    return cfg, model


@cache
def photographs() -> list[np.ndarray]:
    images = [cv2.imread(str(path)) for path in sorted(TINY_COCO.glob("*.jpg"))[:6]]
    assert len({image.shape for image in images}) > 3
    return images


@pytest.mark.parametrize("half", [False, True])
def test_detections_are_those_of_pytorch(tmp_path, half):
    cfg, model = detector()
    export_detector(model, cfg, NAMES, tmp_path, formats=["onnx"], half=half)
    found = compare_onnx(tmp_path / "model.onnx", model, cfg, photographs(), half=half)
    assert found.num_detections == 600
    # In float16 the order changes near the 100th detection and near NMS's threshold.
    assert found.num_different <= (0.1 * found.num_detections if half else 0)
    assert found.box_error < (1 if half else 1e-2)
    assert found.score_error < (1e-2 if half else 1e-4)


def test_without_nms_the_detections_are_among_the_locations(tmp_path):
    cfg, model = detector()
    export_detector(model, cfg, NAMES, tmp_path, formats=["onnx"], with_nms=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    for image in photographs()[:2]:
        pixels = resize.get_transform(image).apply_image(image).transpose(2, 0, 1)
        pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        [boxes], [scores] = session.run(None, {"images": pixels[None]})
        with torch.no_grad():
            expected = model([{"image": torch.from_numpy(pixels)}])[0]["instances"]
        near = np.abs(boxes[:, None] - expected.pred_boxes.tensor.numpy()).max(2) <= 1e-2
        same = np.abs(scores[:, expected.pred_classes] - expected.scores.numpy()) <= 1e-4
        assert (near & same).any(axis=0).all()

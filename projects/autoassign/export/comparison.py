"""An ONNX file beside the detector that it was made from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..modeling import PointDetector

__all__ = ["OnnxComparison", "compare_onnx", "network_input"]

# A detection is the same if it is of the same class and differs by no more: in each coordinate, in
# pixels of the network's input, and in score.
_FLOAT32, _FLOAT16 = (1e-2, 1e-4), (1.0, 1e-2)


@dataclass(frozen=True)
class OnnxComparison:
    """How an ONNX file and PyTorch agree on some images.

    Attributes:
        num_images: how many images.
        num_detections: PyTorch's detections in them.
        num_different: detections that only one of both has.
        box_error: the largest difference of a coordinate between the same detections, in pixels.
        score_error: the largest difference of their scores.
        onnx_seconds: median time of an image in onnxruntime, in the same process.
        torch_seconds: median time of an image in PyTorch.
    """

    num_images: int
    num_detections: int
    num_different: int
    box_error: float
    score_error: float
    onnx_seconds: float
    torch_seconds: float


def network_input(cfg: CfgNode, image: np.ndarray) -> np.ndarray:
    """An image as an exported file takes it.

    Args:
        cfg: the config of the detector.
        image: (H, W, 3) uint8, BGR.

    Returns:
        (1, 3, H', W') float32, resized as in testing, channels in the order of ``INPUT.FORMAT``.
    """
    pixels = image if cfg.INPUT.FORMAT == "BGR" else image[:, :, ::-1]
    resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    pixels = resize.get_transform(pixels).apply_image(pixels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)


def compare_onnx(
    path: Path,
    model: PointDetector,
    cfg: CfgNode,
    images: Sequence[np.ndarray],
    *,
    half: bool = False,
) -> OnnxComparison:
    """Run onnxruntime and PyTorch on the same images, one at a time, on the CPU.

    Args:
        path: an ONNX file with NMS.
        model: the detector, in evaluation mode on the CPU.
        cfg: its config.
        images: (H, W, 3) uint8, BGR; at least one.
        half: the file runs the network in float16: detections may differ by 1 pixel and 0.01 in
            score, instead of 0.01 pixels and 0.0001, and be the same.

    Raises:
        ImportError: the package onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("onnxruntime is not installed: pip install autoassign[export]") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    expected, actual, torch_times, onnx_times = [], [], [], []
    for image in images:
        batch = network_input(cfg, image)
        start = time.perf_counter()
        with torch.no_grad():
            expected.append(model([{"image": torch.from_numpy(batch[0])}])[0]["instances"])
        middle = time.perf_counter()
        outputs = session.run(None, {"images": batch})
        onnx_times.append(time.perf_counter() - middle)
        torch_times.append(middle - start)
        actual.append([output[0] for output in outputs])
    tolerance = _FLOAT16 if half else _FLOAT32
    errors = [
        _errors(tolerance, theirs, *ours) for theirs, ours in zip(expected, actual, strict=True)
    ]
    same = np.concatenate([pairs for pairs, _ in errors])
    return OnnxComparison(
        num_images=len(images),
        num_detections=sum(map(len, expected)),
        num_different=sum(different for _, different in errors),
        box_error=float(same[:, 0].max(initial=0)),
        score_error=float(same[:, 1].max(initial=0)),
        onnx_seconds=median(onnx_times),
        torch_seconds=median(torch_times),
    )


def _errors(
    tolerance: tuple[float, float],
    expected: Instances,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
) -> tuple[np.ndarray, int]:
    """(S, 2) errors of box and score of the same detections, and the number of different ones."""
    count = int((scores > 0).sum())
    boxes, scores, classes = boxes[:count], scores[:count], classes[:count]
    is_free = np.ones(count, bool)
    errors = []
    for box, score, index in zip(
        expected.pred_boxes.tensor.numpy(),
        expected.scores.numpy(),
        expected.pred_classes.numpy(),
        strict=True,
    ):
        box_errors = np.abs(boxes - box).max(axis=1, initial=0)
        score_errors = np.abs(scores - score)
        is_same = (
            is_free
            & (classes == index)
            & (box_errors <= tolerance[0])
            & (score_errors <= tolerance[1])
        )
        if is_same.any():
            match = int(is_same.argmax())
            is_free[match] = False
            errors.append((box_errors[match], score_errors[match]))
    different = len(expected) + count - 2 * len(errors)
    return np.array(errors, dtype=np.float64).reshape(-1, 2), different

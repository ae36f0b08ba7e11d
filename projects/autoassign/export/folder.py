"""A folder with a detector's exported files and a script that uses them."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode

from .. import __version__
from ..config import replacing
from ..modeling import PointDetector
from .files import write_onnx, write_torchscript
from .module import DenseModule, DetectionModule, Suppression
from .suppression import keep_per_class, keep_per_class_op

__all__ = ["FORMATS", "export_detector"]

FORMATS = {"onnx": write_onnx, "torchscript": write_torchscript}
_SCRIPT = Path(__file__).with_name("detect_onnx.py")


def export_detector(
    model: PointDetector,
    cfg: CfgNode,
    class_names: Sequence[str],
    output: str | Path,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    with_nms: bool = True,
    half: bool = False,
) -> list[Path]:
    """Write a detector for use without this project and detectron2.

    Args:
        model: in evaluation mode; it is not changed.
        cfg: its config; the size and the channels of images are taken from it.
        class_names: in the detector's order.
        output: the folder; files in it are replaced.
        formats: of :data:`FORMATS`.
        with_nms: the files return detections, else boxes and scores of all locations.
        half: run the network in float16.

    Returns:
        The files: model.onnx, model.torchscript and, for ONNX with NMS, detect_onnx.py, which
        needs NumPy, OpenCV and onnxruntime only.

    Raises:
        ImportError: a package is not installed.
        OSError: a file cannot be written.
    """
    output = Path(output)
    model = copy.deepcopy(model).cpu().eval()
    metadata = {
        "class_names": json.dumps(list(class_names)),
        "input_format": cfg.INPUT.FORMAT,
        "min_size": str(cfg.INPUT.MIN_SIZE_TEST),
        "max_size": str(cfg.INPUT.MAX_SIZE_TEST),
        "label_assignment": cfg.MODEL.LABEL_ASSIGNMENT.NAME,
        "autoassign_version": __version__,
    }
    written = []
    for name in formats:
        path = output / f"model.{name}"
        module = DenseModule(model, half=half)
        if with_nms:
            module = DetectionModule(model, _suppression(name, model), half=half)
        FORMATS[name](path, module, metadata)
        written.append(path)
    if "onnx" in formats and with_nms:
        with replacing(output / _SCRIPT.name) as unfinished:
            shutil.copyfile(_SCRIPT, unfinished)
        written.append(output / _SCRIPT.name)
    return written


def _suppression(name: str, model: PointDetector) -> Suppression:
    if name == "torchscript":
        return torch.jit.script(keep_per_class)
    return partial(keep_per_class_op, num_classes=model.head.cls_score.out_channels)

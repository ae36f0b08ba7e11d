"""TorchScript and ONNX files of a detector."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..config import replacing
from ..modeling import PointDetector
from .module import DenseModule, DetectionModule
from .suppression import OPSET, keep_per_class, keep_per_class_op, register_onnx_symbolic

__all__ = ["write_onnx", "write_torchscript"]

# Of the image that tracing sees; the files take any.
_EXAMPLE = (2, 3, 160, 224)


def write_onnx(
    path: Path,
    model: PointDetector,
    metadata: Mapping[str, str],
    *,
    with_nms: bool = True,
    half: bool = False,
) -> None:
    """Write a detector as ONNX, for any number and size of images.

    Args:
        path: the file, replaced if it exists.
        model: in evaluation mode on the CPU.
        metadata: custom metadata of the file.
        with_nms: write :class:`DetectionModule`, else :class:`DenseModule`.
        half: see :class:`DenseModule`.

    Raises:
        ImportError: the package onnx is not installed.
        OSError: the file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("onnx is not installed: pip install autoassign[export]") from error
    module = _module(model, as_onnx=True, with_nms=with_nms, half=half)
    register_onnx_symbolic()
    batch_and_size = {0: "batch", 2: "height", 3: "width"}
    with replacing(path) as unfinished, _without_warnings(), torch.no_grad():
        # torch.export's route (dynamo=True) gives the same outputs, but takes a hundred times
        # longer over the sizes of a pyramid: minutes.
        torch.onnx.export(
            module,
            (torch.zeros(_EXAMPLE),),
            str(unfinished),
            dynamo=False,
            input_names=list(module.input_names),
            output_names=list(module.output_names),
            dynamic_axes={
                "images": batch_and_size,
                **{name: {0: "batch"} for name in module.output_names},
            },
            opset_version=OPSET,
        )
        graph = onnx.load(unfinished)
        onnx.helper.set_model_props(graph, dict(metadata))
        onnx.checker.check_model(graph)
        onnx.save(graph, unfinished)


def write_torchscript(
    path: Path,
    model: PointDetector,
    metadata: Mapping[str, str],
    *,
    with_nms: bool = True,
    half: bool = False,
) -> None:
    """Write a detector as TorchScript, for any number and size of images.

    ``torch.jit.load`` needs ``import torchvision`` before, for NMS. The metadata is the extra file
    "metadata.json". For the rest see :func:`write_onnx`.
    """
    module = _module(model, as_onnx=False, with_nms=with_nms, half=half)
    with replacing(path) as unfinished, _without_warnings(), torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(_EXAMPLE), check_trace=False)
        files = {"metadata.json": json.dumps(dict(metadata))}
        torch.jit.save(traced, str(unfinished), _extra_files=files)


def _module(model: PointDetector, *, as_onnx: bool, with_nms: bool, half: bool) -> DenseModule:
    if not with_nms:
        return DenseModule(model, half=half)
    if not as_onnx:
        return DetectionModule(model, torch.jit.script(keep_per_class), half=half)
    num_classes = model.head.cls_score.out_channels

    def suppression(*candidates: Any) -> torch.Tensor:
        return keep_per_class_op(*candidates, num_classes)

    return DetectionModule(model, suppression, half=half)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Do not say what tracing takes for constants: the tests show that none of it varies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

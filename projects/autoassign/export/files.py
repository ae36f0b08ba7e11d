"""TorchScript and ONNX files of a detector."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from ..config import replacing
from .module import DenseModule
from .suppression import OPSET, register_onnx_symbolic

__all__ = ["write_onnx", "write_torchscript"]

# Of the image that tracing sees; the files take any.
_EXAMPLE = (2, 3, 160, 224)


def write_onnx(path: Path, module: DenseModule, metadata: Mapping[str, str]) -> None:
    """Write a detector as ONNX, for any number and size of images.

    Args:
        path: the file, replaced if it exists.
        module: what is written; NMS is :func:`~.suppression.keep_per_class_op`.
        metadata: custom metadata of the file.

    Raises:
        ImportError: the package onnx is not installed.
        OSError: the file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("onnx is not installed: pip install autoassign[export]") from error
    register_onnx_symbolic()
    batch_and_size = {0: "batch", 2: "height", 3: "width"}
    with replacing(path) as unfinished, _without_warnings(), torch.no_grad():
        # torch.export's route (dynamo=True) gives the same outputs, but takes fifty times
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


def write_torchscript(path: Path, module: DenseModule, metadata: Mapping[str, str]) -> None:
    """Write a detector as TorchScript, for any number and size of images.

    ``torch.jit.load`` needs ``import torchvision`` before, for NMS.

    Args:
        path: the file, replaced if it exists.
        module: what is written; NMS is a compiled :func:`~.suppression.keep_per_class`.
        metadata: what the extra file "metadata.json" holds.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as unfinished, _without_warnings(), torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(_EXAMPLE), check_trace=False)
        files = {"metadata.json": json.dumps(dict(metadata))}
        # A file object, whose errors PyTorch does not hide.
        with unfinished.open("wb") as file:
            torch.jit.save(traced, file, _extra_files=files)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Do not say what tracing takes for constants: the tests show that none of it varies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

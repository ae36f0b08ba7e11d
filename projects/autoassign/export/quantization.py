"""An ONNX file with convolutions in INT8, for CPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ..config import replacing

__all__ = ["write_int8"]


def write_int8(source: Path, path: Path, batches: Sequence[np.ndarray]) -> None:
    """Write a copy of an ONNX file whose convolutions run in INT8, with scales fixed beforehand.

    Weights have a scale for each output channel. Activations have one for each tensor, which
    comes from the greatest values that the network shows on ``batches``.

    Args:
        source: a float32 file of :func:`~.files.write_onnx`.
        path: the file, replaced if it exists.
        batches: (N, 3, H, W) float32, as the network takes them: about a hundred images, like
            those that it is to see.

    Raises:
        ImportError: the package onnxruntime is not installed.
        OSError: the file cannot be written.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError("onnxruntime is not installed: pip install autoassign[export]") from error
    inputs = ({"images": batch} for batch in batches)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as unfinished:
        prepared = Path(folder, "prepared.onnx")
        # Symbolic shapes do not get through NMS, and need not.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            unfinished,
            SimpleNamespace(get_next=lambda: next(inputs, None)),  # a CalibrationDataReader
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        graph = onnx.load(unfinished)
        metadata = {item.key: item.value for item in onnx.load(source).metadata_props}
        onnx.helper.set_model_props(graph, metadata)
        onnx.save(graph, unfinished)

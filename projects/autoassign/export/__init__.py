"""What leaves the project: TorchScript and ONNX files, and weights with a model card."""

from .comparison import OnnxComparison, compare_onnx, network_input
from .folder import FORMATS, export_detector
from .publication import Publication, publish
from .quantization import write_int8

__all__ = [
    "FORMATS",
    "OnnxComparison",
    "Publication",
    "compare_onnx",
    "export_detector",
    "network_input",
    "publish",
    "write_int8",
]

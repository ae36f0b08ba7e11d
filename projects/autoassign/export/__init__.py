"""What leaves the project: TorchScript and ONNX files, and weights with a model card."""

from .comparison import OnnxComparison, compare_onnx
from .folder import FORMATS, export_detector
from .publication import Publication, publish

__all__ = [
    "FORMATS",
    "OnnxComparison",
    "Publication",
    "compare_onnx",
    "export_detector",
    "publish",
]

"""Write a detector as ONNX and TorchScript, for use without this project and detectron2.

    autoassign export --weights output/mine/model_best.pth --output exported
    autoassign export --weights model.pth --output exported --formats onnx --check photos/*.jpg
    autoassign export --weights model.pth --output exported --half TEST.DETECTIONS_PER_IMAGE 20

The files take images of any number and size (one size per batch), as float32 from 0 to 255; they
normalize and pad. They return detections: boxes in pixels of these images, scores and classes, or
with --no-nms the box and the scores of every location. --int8 adds a smaller file that is faster on
CPUs; measure what it does to the AP of your detector. exported/detect_onnx.py runs model.onnx
with NumPy, OpenCV and onnxruntime only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_model_arguments, add_options_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign export``."""
    add_model_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=("onnx", "torchscript"),
        default=["onnx", "torchscript"],
        help="default: both",
    )
    parser.add_argument("--no-nms", action="store_true", help="return all boxes and scores")
    parser.add_argument("--half", action="store_true", help="run the network in float16")
    parser.add_argument(
        "--int8",
        nargs="+",
        metavar="IMAGE",
        help="write model_int8.onnx too, for CPUs, calibrated on these images (a hundred do)",
    )
    parser.add_argument(
        "--check",
        nargs="+",
        metavar="IMAGE",
        help="run onnxruntime and PyTorch on these images, and print how they agree",
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Export, and compare if asked to."""
    from ..export import compare_onnx, export_detector, network_input, write_int8
    from ..runs import load_detector

    if args.check and (args.no_nms or "onnx" not in args.formats):
        raise ValueError("--check compares detections: it needs ONNX with NMS")
    if args.int8 and (args.half or "onnx" not in args.formats):
        raise ValueError("--int8 needs ONNX in float32: --formats onnx, without --half")
    images = [_read(path) for path in args.check or ()]
    calibration = [_read(path) for path in args.int8 or ()]
    opts = [*args.opts, "MODEL.DEVICE", "cpu"]
    detector = load_detector(args.config_file, args.weights, opts)
    written = export_detector(
        detector.model,
        detector.cfg,
        detector.class_names,
        args.output,
        formats=args.formats,
        with_nms=not args.no_nms,
        half=args.half,
    )
    onnx_file = Path(args.output, "model.onnx")
    if calibration:
        written.append(onnx_file.with_name("model_int8.onnx"))
        batches = [network_input(detector.cfg, image) for image in calibration]
        write_int8(onnx_file, written[-1], batches)
    for path in written:
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MB")
    if images:
        found = compare_onnx(onnx_file, detector.model, detector.cfg, images, half=args.half)
        print(
            f"{found.num_images} images, {found.num_detections} detections, "
            f"{found.num_different} different; boxes within {found.box_error:.1e} pixels, scores "
            f"within {found.score_error:.1e}; an image takes {found.onnx_seconds:.3f} s in "
            f"onnxruntime, {found.torch_seconds:.3f} s in PyTorch"
        )


def _read(path: str) -> Any:
    import cv2

    image = cv2.imread(path)
    if image is None:
        raise ValueError(f"{path} cannot be read as an image")
    return image

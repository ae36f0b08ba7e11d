"""Check the installation: versions, operators and devices, and what to do about faults.

Exit status: 0; 1 if something that is needed does not work.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path

__all__ = ["Finding", "add_arguments", "diagnose", "run"]

_MATCHING_TORCH = "install a torch and a torchvision made for each other (see pytorch.org)"
_DRIVER = "update the NVIDIA driver; CUDA_VISIBLE_DEVICES= (empty) runs on the CPU"
# What is needed: its name, the module to import, and what to do if that fails.
_PACKAGES = (
    ("torch", "torch", _MATCHING_TORCH),
    ("torchvision", "torchvision", _MATCHING_TORCH),
    # model_zoo imports the models and pkg_resources.
    ("detectron2", "detectron2.model_zoo", "`make setup` in a checkout, or see its INSTALL.md"),
    ("fvcore", "fvcore", "pip install fvcore"),
    ("pycocotools", "pycocotools.mask", "pip install pycocotools"),
    ("faster-coco-eval", "faster_coco_eval", "pip install faster-coco-eval"),
    ("opencv", "cv2", "pip install opencv-python-headless (or opencv-python, not both)"),
    ("numpy", "numpy", "pip install numpy"),
)
# Parts of error messages whose cause is known, whatever failed.
_KNOWN_FAULTS = {
    "pkg_resources": 'pip install "setuptools<81": this detectron2 imports pkg_resources',
    "torchvision::nms|undefined symbol": _MATCHING_TORCH,
    "_ARRAY_API|core.multiarray|numpy.dtype size": "upgrade this package: it was built for "
    'NumPy 1; or pip install "numpy<2"',
    r"lib(GL|gthread|SM|Xext)\b": "pip uninstall opencv-python; pip install --force-reinstall "
    "opencv-python-headless",
    "module 'cv2' has no|partially initialized module 'cv2'": "pip uninstall opencv-python "
    "opencv-python-headless, then install one of them: they overwrite each other",
    "PIL.Image' has no attribute": 'pip install "pillow<10", or a newer detectron2',
    "no kernel image": "install a torch built for the capability of this GPU (see pytorch.org)",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was checked.
        detail: its version, its result, or the error.
        remedy: what to do; empty if it works.
    """

    name: str
    detail: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``autoassign doctor`` has no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print the report; returns the exit status."""
    faults = 0
    for finding in diagnose():
        print(f"{finding.name:<17}{'FAILS: ' if finding.remedy else ''}{finding.detail}")
        if finding.remedy:
            faults += 1
            print(f"{'':<17}-> {finding.remedy}")
    print(f"\n{faults} of these must be fixed" if faults else "\nAll that is needed works.")
    return 1 if faults else 0


def diagnose() -> Iterator[Finding]:
    """Check the packages and operators that training and evaluation need.

    Yields:
        A finding for each, in the order in which one failure explains the next. Nothing outside
        the standard library is imported before its own check.
    """
    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", platform.platform())
    for name, module, remedy in _PACKAGES:
        yield _attempt(name, partial(_check_import, module), remedy)
    yield _attempt("operators", _check_operators, _MATCHING_TORCH)
    reinstall = "pip install --force-reinstall --no-deps faster-coco-eval"
    yield _attempt("COCO evaluation", _check_coco_evaluation, reinstall)
    yield from _diagnose_cuda()
    extension = _attempt("detectron2._C", partial(_check_import, "detectron2._C"), "-")
    yield Finding(extension.name, f"{'missing' if extension.remedy else 'there'}, not needed")


def _attempt(name: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Finding(name, check())
    except Exception as error:  # a binary that does not fit can raise anything
        message = (str(error).strip().splitlines() or [""])[0]
        known = (text for fault, text in _KNOWN_FAULTS.items() if re.search(fault, message))
        return Finding(name, f"{type(error).__name__}: {message}", next(known, remedy))


# Reads the metadata of every installed package.
_distributions = cache(importlib.metadata.packages_distributions)


def _check_import(module: str) -> str:
    """The version of a module's package, and its distributions or place if they are not obvious."""
    import_module(module)
    name = module.partition(".")[0]
    package = import_module(name)
    distributions = _distributions().get(name, [])
    version = getattr(package, "__version__", None)
    version = version or (importlib.metadata.version(distributions[0]) if distributions else "?")
    others = [other for other in distributions if other.replace("-", "_") != name]
    if name == "detectron2":
        others.append(str(Path(package.__file__ or "").parent))
    return ", ".join([version, *others])


def _check_operators(device: str = "cpu") -> str:
    torch, ops = import_module("torch"), import_module("torchvision").ops
    # The second box overlaps the first and has a lower score.
    boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]]
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    kept = ops.nms(torch.tensor(boxes, device=device), scores, 0.5).tolist()
    ones = torch.ones(1, 1, 3, 3, device=device)
    # An ordinary convolution, because the offsets are 0.
    convolved = ops.deform_conv2d(ones, torch.zeros(1, 18, 1, 1, device=device), ones).item()
    if (kept, convolved) != ([0, 2], 9.0):
        raise ArithmeticError(f"nms gives {kept}, deform_conv2d {convolved}; not [0, 2] and 9.0")
    return "nms and deformable convolution work"


def _check_coco_evaluation() -> str:
    evaluation = import_module("faster_coco_eval")
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.9}
    annotation = {"id": 1, "area": 25, "iscrowd": 0, **box}
    images, categories = [{"id": 1, "width": 9, "height": 9}], [{"id": 1, "name": "object"}]
    truth = evaluation.COCO(
        {"images": images, "categories": categories, "annotations": [annotation]}
    )
    evaluator = evaluation.COCOeval_faster(truth, truth.loadRes([box]), "bbox")
    evaluator.run()
    if abs(evaluator.stats[0] - 1) > 1e-6:
        raise ArithmeticError(f"AP is {evaluator.stats[0]}, not 1")
    return "works"


def _diagnose_cuda() -> Iterator[Finding]:
    try:
        torch = import_module("torch")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            available = torch.cuda.is_available()
    except Exception:  # reported by the check of torch
        yield Finding("CUDA", "not known without torch")
        return
    if not available:
        reason = "no device found" if torch.version.cuda else "this torch is built without CUDA"
        # torch warns if there is a device that it cannot use, such as one with an old driver.
        reason = "; ".join(str(warning.message).splitlines()[0] for warning in caught) or reason
        yield Finding("CUDA", f"CPU only: {reason}")
        return
    count = torch.cuda.device_count()
    yield Finding("CUDA", f"{torch.version.cuda}, {count} device(s)")
    for device in (f"cuda:{index}" for index in range(count)):
        yield _attempt(device, partial(_check_device, device), _DRIVER)
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    missing = "missing: train on one device at a time"
    yield Finding("NCCL", ".".join(map(str, torch.cuda.nccl.version())) if nccl else missing)


def _check_device(device: str) -> str:
    properties = import_module("torch").cuda.get_device_properties(device)
    _check_operators(device)
    capability = f"capability {properties.major}.{properties.minor}"
    return f"{properties.name}, {capability}, {properties.total_memory / 2**30:.0f} GiB, works"

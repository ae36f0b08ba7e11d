"""Says what is installed, what of it works, and what to do about the rest.

Run as ``python -m autoassign.cli.doctor``; exits with 1 where something needed does not work.
Nothing
outside the standard library is imported before its own check, so a broken installation gets a
report as well.
"""

import importlib
import importlib.metadata
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

__all__ = ["Finding", "diagnose", "main", "report"]

ImportModule = Callable[[str], Any]

_MATCHING_TORCH = "install a torch and a torchvision made for each other (see pytorch.org)"
_DETECTRON2 = "`make setup` in a checkout installs one; or build it as its INSTALL.md says"
# What is needed: the name shown, the module to import, and what to do where that fails.
_PACKAGES = (
    ("torch", "torch", _MATCHING_TORCH),
    ("torchvision", "torchvision", _MATCHING_TORCH),
    # model_zoo imports the models, and pkg_resources besides.
    ("detectron2", "detectron2.model_zoo", _DETECTRON2),
    ("fvcore", "fvcore", "pip install fvcore"),
    ("pycocotools", "pycocotools.mask", "pip install pycocotools"),
    ("faster-coco-eval", "faster_coco_eval", "pip install faster-coco-eval"),
    ("opencv", "cv2", "pip install opencv-python-headless (or opencv-python, not both)"),
    ("numpy", "numpy", "pip install numpy"),
)
_DRIVER = "update the NVIDIA driver; CUDA_VISIBLE_DEVICES= (empty) goes on without the device"
_NO_SETUPTOOLS = 'pip install "setuptools<81": this detectron2 imports pkg_resources'


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        detail: its version, its result, or the error.
        remedy: what to do; empty where it works.
    """

    name: str
    detail: str
    remedy: str = ""


def diagnose(import_module: ImportModule = importlib.import_module) -> Iterator[Finding]:
    """Look at the packages and the operators that training and evaluation need.

    Args:
        import_module: imports a module by its name; a test puts its own here.

    Yields:
        A finding for each, in the order in which one failure explains the next.
    """
    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", platform.platform())
    for name, module, remedy in _PACKAGES:
        yield _attempt(name, partial(_check_import, import_module, module), remedy)
    yield _attempt("nms", partial(_check_nms, import_module, "cpu"), _MATCHING_TORCH)
    yield _attempt(
        "deform conv", partial(_check_deform_conv, import_module, "cpu"), _MATCHING_TORCH
    )
    yield _attempt(
        "COCO evaluation",
        partial(_check_coco_evaluation, import_module),
        "pip install --force-reinstall --no-deps faster-coco-eval",
    )
    yield from _diagnose_cuda(import_module)
    yield Finding("detectron2._C", _describe_extension(import_module))


def report(findings: Iterator[Finding]) -> int:
    """Print the findings as a table.

    Returns:
        How many of them call for something to be done.
    """
    faults = 0
    for finding in findings:
        print(f"{finding.name:<17}{'FAILS: ' if finding.remedy else ''}{finding.detail}")
        if finding.remedy:
            faults += 1
            print(f"{'':<17}-> {finding.remedy}")
    return faults


def main() -> int:
    """Print the report; returns the exit code, 1 where something needed does not work."""
    faults = report(diagnose())
    print(f"\n{faults} of these must be mended" if faults else "\nAll that is needed works.")
    return 1 if faults else 0


def _attempt(name: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Finding(name, check())
    # A binary that does not fit can raise anything: ImportError, OSError, RuntimeError, ...
    except Exception as error:
        message = (str(error).strip().splitlines() or [""])[0]
        if "pkg_resources" in message:
            remedy = _NO_SETUPTOOLS
        return Finding(name, f"{type(error).__name__}: {message}", remedy)


def _check_import(import_module: ImportModule, module: str) -> str:
    """The version of the package of ``module``, and where it comes from if that is not plain."""
    import_module(module)
    name = module.partition(".")[0]
    package = import_module(name)
    distributions = _distributions().get(name, [])
    version = getattr(package, "__version__", None)
    version = version or (importlib.metadata.version(distributions[0]) if distributions else "?")
    others = [other for other in distributions if other.replace("-", "_") != name]
    if name == "detectron2":
        others.append(str(Path(package.__file__ or "").parent))
    return f"{version}{', ' if others else ''}{', '.join(others)}"


# Reads the metadata of every installed package.
_distributions = cache(importlib.metadata.packages_distributions)


def _check_nms(import_module: ImportModule, device: str) -> str:
    torch, torchvision = import_module("torch"), import_module("torchvision")
    # The second box overlaps the first, with a lower score.
    boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]]
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    kept = torchvision.ops.nms(torch.tensor(boxes, device=device), scores, 0.5).tolist()
    return _expect(kept, [0, 2])


def _check_deform_conv(import_module: ImportModule, device: str) -> str:
    torch, torchvision = import_module("torch"), import_module("torchvision")
    ones = torch.ones(1, 1, 3, 3, device=device)
    # Without offsets it is an ordinary convolution.
    no_offset = torch.zeros(1, 2 * 3 * 3, 1, 1, device=device)
    return _expect(torchvision.ops.deform_conv2d(ones, no_offset, ones).item(), 9.0)


def _check_coco_evaluation(import_module: ImportModule) -> str:
    evaluation = import_module("faster_coco_eval")
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
    truth = evaluation.COCO(
        {
            "images": [{"id": 1, "width": 9, "height": 9}],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": [{"id": 1, "area": 25, "iscrowd": 0, **box}],
        }
    )
    evaluator = evaluation.COCOeval_faster(truth, truth.loadRes([{"score": 0.9, **box}]), "bbox")
    evaluator.run()
    return _expect(round(float(evaluator.stats[0]), 6), 1.0)


def _expect(result: object, expected: object) -> str:
    if result != expected:
        raise ArithmeticError(f"gives {result}, not {expected}")
    return "works"


def _diagnose_cuda(import_module: ImportModule) -> Iterator[Finding]:
    try:
        torch = import_module("torch")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            available = torch.cuda.is_available()
    except Exception:
        # The finding about torch has said so already.
        yield Finding("CUDA", "not known without torch")
        return
    if not available:
        reason = "no device found" if torch.version.cuda else "this torch is built without CUDA"
        # torch warns where there is a device that it cannot use, such as one with an old driver.
        reason = "; ".join(str(warning.message).splitlines()[0] for warning in caught) or reason
        yield Finding("CUDA", f"CPU only: {reason}")
        return
    count = torch.cuda.device_count()
    yield Finding("CUDA", f"{torch.version.cuda}, {count} device(s)")
    for index in range(count):
        yield from _diagnose_device(import_module, f"cuda:{index}")
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    missing = "missing: one device at a time"
    yield Finding("NCCL", ".".join(map(str, torch.cuda.nccl.version())) if nccl else missing)


def _diagnose_device(import_module: ImportModule, device: str) -> Iterator[Finding]:
    yield _attempt(device, partial(_describe_device, import_module, device), _DRIVER)
    for name, check in (("nms", _check_nms), ("deform conv", _check_deform_conv)):
        yield _attempt(f"  {name}", partial(check, import_module, device), _MATCHING_TORCH)


def _describe_device(import_module: ImportModule, device: str) -> str:
    properties = import_module("torch").cuda.get_device_properties(device)
    capability = f"capability {properties.major}.{properties.minor}"
    return f"{properties.name}, {capability}, {properties.total_memory / 2**30:.0f} GiB"


def _describe_extension(import_module: ImportModule) -> str:
    try:
        import_module("detectron2._C")
    except Exception:
        return "not there, and not needed"
    return "there, and not needed"


if __name__ == "__main__":
    sys.exit(main())

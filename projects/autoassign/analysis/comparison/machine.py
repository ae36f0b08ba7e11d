"""What a training ran on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import detectron2
import torch

from ... import __version__

__all__ = ["describe_machine"]


def describe_machine(device: str, *, jobs: int = 1, num_gpus: int = 1) -> str:
    """Processor, the GPU if ``MODEL.DEVICE`` is one, and versions in one line."""
    cores = f"{os.cpu_count()} cores of {_processor()}"
    if device.startswith("cuda") and torch.cuda.is_available():
        gpu = f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
        cores = f"{num_gpus} × {gpu}, {cores}"
    shared = f", {jobs} trainings at a time" if jobs > 1 else ""
    return (
        f"{cores}{shared}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"detectron2 {detectron2.__version__}, autoassign {__version__}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (match := re.search(r"model name\s*: (.+)", cpuinfo.read_text())):
        return match[1]
    return platform.processor() or platform.machine()

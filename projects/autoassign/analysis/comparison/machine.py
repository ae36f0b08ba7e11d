"""What a training ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import detectron2
import torch

from ... import __version__

__all__ = ["describe_machine"]


def describe_machine(device: str) -> str:
    """Processor and versions in one line.

    Args:
        device: ``MODEL.DEVICE``; the GPU is named where it is used.
    """
    cores = f"{os.cpu_count()} cores of {_processor()}"
    if device.startswith("cuda") and torch.cuda.is_available():
        cores = f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda}), {cores}"
    return (
        f"{cores}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"detectron2 {detectron2.__version__}, autoassign {__version__}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""The device that a config names, held against what the machine has."""

import torch
from detectron2.config import CfgNode

__all__ = ["use_cpu_without_cuda"]


def use_cpu_without_cuda(cfg: CfgNode) -> bool:
    """Replace a CUDA device by the CPU where torch has no CUDA.

    Returns:
        Whether the device was replaced.

    Raises:
        ValueError: ``MODEL.DEVICE`` is not a device.
    """
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}; it must be a torch device, such as cpu, cuda "
            "or cuda:1"
        ) from error
    if not cfg.MODEL.DEVICE.startswith("cuda") or torch.cuda.is_available():
        return False
    cfg.MODEL.DEVICE = "cpu"
    # detectron2 has mixed precision on CUDA only.
    cfg.SOLVER.AMP.ENABLED = False
    return True

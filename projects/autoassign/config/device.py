"""The device that a config names, if the machine has it."""

import torch
from detectron2.config import CfgNode

__all__ = ["use_cpu_without_cuda"]


def use_cpu_without_cuda(cfg: CfgNode) -> bool:
    """Replace a CUDA device by the CPU where torch has no CUDA; off CUDA, AMP is switched off.

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
    is_cuda = cfg.MODEL.DEVICE.startswith("cuda")
    if is_cuda and torch.cuda.is_available():
        return False
    # detectron2 has mixed precision on CUDA only.
    cfg.SOLVER.AMP.ENABLED = False
    if is_cuda:
        cfg.MODEL.DEVICE = "cpu"
    return is_cuda

"""The device that a config names, if the machine has it."""

import torch
from detectron2.config import CfgNode

__all__ = ["use_cpu_without_cuda"]


def use_cpu_without_cuda(cfg: CfgNode) -> bool:
    """Replace a CUDA device by the CPU where torch has no CUDA; off CUDA, float16 becomes float32.

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
    # CPUs that compute in bfloat16 are common, in float16 rare.
    if cfg.SOLVER.AMP.DTYPE == "float16":
        cfg.SOLVER.AMP.ENABLED = False
    if cfg.TEST.PRECISION == "float16":
        cfg.TEST.PRECISION = "float32"
    if is_cuda:
        cfg.MODEL.DEVICE = "cpu"
    return is_cuda

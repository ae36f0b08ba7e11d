"""Fitting a config to a machine without CUDA."""

import torch
from detectron2.config import CfgNode

__all__ = ["fit_to_machine"]


def fit_to_machine(cfg: CfgNode) -> list[str]:
    """Replace a CUDA device by the CPU where torch has no CUDA, and off CUDA float16 by float32.

    Returns:
        What was replaced, a sentence each.

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
        return []
    replaced = []
    if is_cuda:
        cfg.MODEL.DEVICE = "cpu"
        replaced.append("No CUDA device is available: running on the CPU.")
    # CPUs that compute in bfloat16 are common, in float16 rare.
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "float16":
        cfg.SOLVER.AMP.ENABLED = False
        replaced.append("SOLVER.AMP.DTYPE float16 is for CUDA devices: training in float32.")
    if cfg.TEST.PRECISION == "float16":
        cfg.TEST.PRECISION = "float32"
        replaced.append("TEST.PRECISION float16 is for CUDA devices: evaluating in float32.")
    return replaced

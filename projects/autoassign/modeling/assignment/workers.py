"""Normalizers over all workers."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

__all__ = ["mean_over_workers"]


def mean_over_workers(values: Tensor) -> Tensor:
    """Mean of a tensor over all workers, without gradient; every worker must call it."""
    values = values.detach()
    if not (dist.is_available() and dist.is_initialized()):
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()

"""The interface of a label-assignment strategy and the registry that strategies are chosen from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from ..grid import Grid
from .structures import Explanation, GroundTruth, Predictions

__all__ = ["LABEL_ASSIGNMENT_REGISTRY", "LabelAssignment", "build_label_assignment"]

LABEL_ASSIGNMENT_REGISTRY = Registry("LABEL_ASSIGNMENT")
LABEL_ASSIGNMENT_REGISTRY.__doc__ = """
Label assignments, chosen by ``MODEL.LABEL_ASSIGNMENT.NAME``: subclasses of
:class:`LabelAssignment` that are built from a config by ``@configurable``.
"""


class LabelAssignment(nn.Module, ABC):
    """Decides which locations learn which objects, and returns the losses that follow.

    A strategy sees dense predictions, the grid and the objects of the batch. It knows no images,
    no config files and no backbone. What it learns is its own parameter.

    Attributes:
        uses_centerness: whether the head is to predict center-ness, which the strategy trains.
    """

    uses_centerness: bool = False

    @abstractmethod
    def forward(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses and statistics of a batch.

        Returns:
            losses: named scalars, always the same names, connected to the predictions also when
                the batch has no object; their sum is minimised.
            statistics: named scalars without gradient, for the log.
        """

    @abstractmethod
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """What the losses are made of, pair by pair, by the functions that :meth:`forward` uses."""


def build_label_assignment(cfg: CfgNode) -> LabelAssignment:
    """Build the strategy named by ``cfg.MODEL.LABEL_ASSIGNMENT.NAME``.

    Raises:
        ValueError: the name is not registered; the registered ones are listed.
    """
    name = cfg.MODEL.LABEL_ASSIGNMENT.NAME
    if name not in LABEL_ASSIGNMENT_REGISTRY:
        known = ", ".join(sorted(key for key, _ in LABEL_ASSIGNMENT_REGISTRY))
        raise ValueError(f"MODEL.LABEL_ASSIGNMENT.NAME is '{name}'; it may be one of: {known}")
    return LABEL_ASSIGNMENT_REGISTRY.get(name)(cfg)


def mean_over_workers(values: Tensor) -> Tensor:
    """Mean of a tensor over all workers, without gradient; every worker must call it."""
    values = values.detach()
    if not (dist.is_available() and dist.is_initialized()):
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def segment_sum(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) sums of the (P,) values that share a segment; differentiable."""
    return values.new_zeros(num_segments).index_add(0, segments, values)


def segment_max(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) maxima of (P,) values, -inf for an empty segment; no gradient."""
    empty = torch.full((num_segments,), -torch.inf, dtype=values.dtype, device=values.device)
    return empty.scatter_reduce(0, segments, values.detach(), "amax")


def segment_logsumexp(values: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """(num_segments,) log Σ exp of the (P,) values of each segment, none empty; differentiable."""
    greatest = segment_max(values, segments, num_segments)
    total = segment_sum((values - greatest[segments]).exp(), segments, num_segments)
    return total.log() + greatest

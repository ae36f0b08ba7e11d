"""The interface of a label-assignment strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from detectron2.config import CfgNode
from torch import Tensor, nn

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, check_options
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..pairs import Pairs
from ..predictions import ExtraOutput, Predictions
from .objectness import explicit_objectness_loss

__all__ = [
    "Explanation",
    "LabelAssignment",
    "build_label_assignment",
]


@dataclass(frozen=True)
class Explanation:
    """What a strategy decided about the pairs of a batch, by the numbers its losses are made of.

    Attributes:
        pairs: the P pairs that were considered.
        maps: (P,) values by name, without gradient.
        primary: the one of ``maps`` that says how much each location learns its object.
    """

    pairs: Pairs
    maps: dict[str, Tensor]
    primary: str


class LabelAssignment(nn.Module, ABC):
    """Decides which locations learn which objects, and returns the losses that follow.

    A strategy sees dense predictions, the grid and the objects of the batch. It knows no images,
    no config files and no backbone. What it learns are its own parameters. A subclass is
    registered with ``LABEL_ASSIGNMENT_REGISTRY``, is ``@configurable``, and declares:

    Attributes:
        extra_outputs: what the head predicts in addition to classes, distances and objectness.
        needs_features: whether :attr:`Predictions.features` are to be given, in training and for
            scores and explanations.
        head_options: values of ``MODEL.POINT_HEAD`` options that its recipe sets, for comparing
            strategies on one config and for benchmarks; others have their defaults there.
        no_weight_decay: names of its parameters that AdamW must not decay.
        supervises_objectness: whether objectness has its own label
            (``MODEL.POINT_HEAD.OBJECTNESS explicit``), and the strategy takes it as given.
    """

    extra_outputs: ClassVar[tuple[ExtraOutput, ...]] = ()
    needs_features: ClassVar[bool] = False
    head_options: ClassVar[Mapping[str, Any]] = {}
    no_weight_decay: ClassVar[frozenset[str]] = frozenset()
    supervises_objectness: bool = False

    @classmethod
    def default_options(cls) -> CfgNode:
        """The node ``MODEL.LABEL_ASSIGNMENT.<NAME IN CAPITALS>`` with its default values."""
        return CfgNode()

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        """What values the options of :meth:`default_options` may have."""
        return {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of the constructor: the options, with their names in lower case."""
        options = cfg.MODEL.LABEL_ASSIGNMENT[cls.__name__.upper()]
        return {name.lower(): value for name, value in options.items()}

    def forward(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses and statistics of a batch.

        Returns:
            losses: named scalars, always the same names, connected to the predictions also when
                the batch has no object; their sum is minimised.
            statistics: named scalars without gradient, on the device, for the log.
        """
        if not self.supervises_objectness or predictions.obj_logits is None:
            return self.losses(predictions, grid, gt)
        loss_obj = explicit_objectness_loss(predictions.obj_logits, grid, gt)
        given = replace(predictions, obj_logits=predictions.obj_logits.detach())
        losses, statistics = self.losses(given, grid, gt)
        return {**losses, "loss_obj": loss_obj}, statistics

    @abstractmethod
    def losses(
        self, predictions: Predictions, grid: Grid, gt: GroundTruth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What :meth:`forward` returns, apart from explicit objectness."""

    def scores(self, predictions: Predictions) -> Tensor:
        """(N, R, K) scores of detections, in [0, 1]."""
        return predictions.class_probabilities()

    @abstractmethod
    def explain(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Explanation:
        """What the losses are made of, pair by pair, by the functions that :meth:`losses` uses."""


def build_label_assignment(cfg: CfgNode) -> LabelAssignment:
    """Build the strategy named by ``cfg.MODEL.LABEL_ASSIGNMENT.NAME``.

    Raises:
        ValueError: the name is not registered, or one of the strategy's options has a value that
            is not allowed.
    """
    name = cfg.MODEL.LABEL_ASSIGNMENT.NAME
    if name not in LABEL_ASSIGNMENT_REGISTRY:
        known = ", ".join(sorted(key for key, _ in LABEL_ASSIGNMENT_REGISTRY))
        raise ValueError(
            f"MODEL.LABEL_ASSIGNMENT.NAME is '{name}'; it may be one of: {known}. A strategy of "
            "another package is imported with --import MODULE"
        )
    strategy = LABEL_ASSIGNMENT_REGISTRY.get(name)
    node = name.upper()
    check_options(
        cfg.MODEL.LABEL_ASSIGNMENT[node],
        strategy.allowed_options(),
        prefix=f"MODEL.LABEL_ASSIGNMENT.{node}.",
    )
    assignment = strategy(cfg)
    assignment.supervises_objectness = cfg.MODEL.POINT_HEAD.OBJECTNESS == "explicit"
    return assignment

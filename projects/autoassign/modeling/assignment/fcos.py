"""FCOS in its improved form (https://arxiv.org/abs/1904.01355, https://arxiv.org/abs/2006.09214)."""

from __future__ import annotations

from typing import Any, ClassVar

from detectron2.config import CfgNode, configurable

from ...config import LABEL_ASSIGNMENT_REGISTRY, Rule, above
from ..grid import Grid
from ..ground_truth import GroundTruth
from ..predictions import Predictions
from .geometry import (
    candidate_pairs,
    center_distance,
    center_sampling,
    level_ranges,
    pair_ltrb,
    pair_ranges,
    select_winners,
)
from .hard import CENTERNESS, Assignment, HardAssignment

__all__ = ["FCOS"]


@LABEL_ASSIGNMENT_REGISTRY.register()
class FCOS(HardAssignment):
    """FCOS's labels and losses: center sampling, GIoU, center-ness on the box tower.

    An object's candidates lie inside its box, near its center, on the levels whose range contains
    its greatest distance (both ends included). A location that is a candidate of several objects
    learns the smallest; of equal areas the first object of the image wins. An object without a
    candidate is not learned, as published; the statistics count such objects.
    """

    extra_outputs = (CENTERNESS,)
    head_options: ClassVar = {"LOCATION_OFFSET": 0.5, "OBJECTNESS": "none", "PRIOR_PROB": 0.01}
    min_box_weight = 1e-6

    @configurable
    def __init__(self, *, center_sampling_radius: float | None = 1.5) -> None:
        """See :meth:`default_options`; a radius of None: anywhere inside the box."""
        super().__init__()
        self.center_sampling_radius = center_sampling_radius

    @classmethod
    def default_options(cls) -> CfgNode:
        node = CfgNode()
        # Candidates lie within this radius of the object's center, in strides; False: anywhere
        # inside the box.
        node.CENTER_SAMPLING = True
        node.CENTER_SAMPLING_RADIUS = 1.5
        return node

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {"CENTER_SAMPLING_RADIUS": above(0)}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return center_sampling(cfg.MODEL.LABEL_ASSIGNMENT[cls.__name__.upper()])

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        ranges = level_ranges(grid.strides)
        radius = self.center_sampling_radius
        pairs = candidate_pairs(grid, gt, center_radius=radius, size_ranges=ranges)
        ltrb = pair_ltrb(pairs, grid, gt)
        low, high = pair_ranges(ranges, pairs, grid, ltrb.dtype).unbind(dim=1)
        size = ltrb.amax(dim=1)
        is_candidate = (ltrb.amin(dim=1) > 0) & (size >= low) & (size <= high)
        if radius is not None:
            is_candidate &= center_distance(pairs, grid, gt) < radius
        areas = gt.areas.index_select(0, pairs.objects)
        return Assignment(
            pairs=pairs,
            winners=select_winners(-areas, pairs, grid, gt, where=is_candidate),
            maps={"candidate": is_candidate.to(ltrb)},
        )

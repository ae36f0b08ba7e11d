"""A label assignment outside the package: each object is learned at its nearest locations.

    PYTHONPATH=examples autoassign train --import nearest_locations \
      --config-file configs/quickstart/autoassign_shapes.yaml \
      MODEL.LABEL_ASSIGNMENT.NAME NearestLocations MODEL.POINT_HEAD.OBJECTNESS none

It works in every command that takes --import: visualize, report, compare, benchmark and the rest.
"""

from typing import ClassVar

import torch
from detectron2.config import CfgNode, configurable

from autoassign.config import Rule, at_least
from autoassign.modeling import (
    LABEL_ASSIGNMENT_REGISTRY,
    Grid,
    GroundTruth,
    HardAssignment,
    Predictions,
    nearest_pairs,
)
from autoassign.modeling.assignment import (
    Assignment,
    center_distance,
    level_ranges,
    pair_levels,
    select_winners,
)


@LABEL_ASSIGNMENT_REGISTRY.register()
class NearestLocations(HardAssignment):
    """Each object is learned at the k locations nearest to its center, on the level of its size.

    A location that is near to several objects learns the nearest one.
    """

    head_options: ClassVar = {"OBJECTNESS": "none", "PRIOR_PROB": 0.01}

    @configurable
    def __init__(self, *, topk: int = 5) -> None:
        """See :meth:`default_options`."""
        super().__init__()
        self.topk = topk

    @classmethod
    def default_options(cls) -> CfgNode:
        # k, the locations of an object.
        return CfgNode({"TOPK": 5})

    @classmethod
    def allowed_options(cls) -> dict[str, Rule]:
        return {"TOPK": at_least(1)}

    def assign(self, predictions: Predictions, grid: Grid, gt: GroundTruth) -> Assignment:
        pairs = nearest_pairs(gt.boxes, gt.image_index, grid, self.topk)
        distance = center_distance(pairs, grid, gt)
        # The level that FCOS gives an object of this half side.
        half_side = (gt.boxes[:, 2:] - gt.boxes[:, :2]).amax(dim=1) / 2
        upper = half_side.new_tensor([high for _, high in level_ranges(grid.strides)])
        level = torch.searchsorted(upper, half_side).clamp(max=len(upper) - 1)
        on_level = pair_levels(pairs, grid) == level.index_select(0, pairs.objects)
        return Assignment(
            pairs=pairs,
            winners=select_winners(-distance, pairs, grid, gt, where=on_level),
            maps={"distance in strides": distance},
        )

"""The recipes of the model zoo, and what was published about them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RECIPES", "Recipe"]

_AUTOASSIGN = "arXiv 2007.03496"
_DSLA = "arXiv 2208.00817"
_MMDETECTION = "MMDetection's model zoo"


@dataclass(frozen=True)
class Recipe:
    """A config and its published result.

    Attributes:
        config: file name below ``configs/COCO-Detection``.
        ap: published AP.
        split: the images it was evaluated on.
        source: where it was published.
        images_per_gpu: of the published training.
        memory: published peak in GB of one of its GPUs.
    """

    config: str
    ap: float
    split: str
    source: str
    images_per_gpu: int = 2
    memory: float | None = None


RECIPES = (
    Recipe(
        "autoassign_R_50_FPN_1x",
        40.5,
        "val",
        f"{_AUTOASSIGN}, Table 1; memory: {_MMDETECTION}",
        memory=4.08,
    ),
    Recipe("autoassign_R_50_FPN_13ep", 40.6, "val", "AutoAssign's repository"),
    Recipe("autoassign_R_101_FPN_2x", 44.5, "test-dev", f"{_AUTOASSIGN}, Table 6"),
    Recipe("autoassign_X_101_64x4d_FPN_2x", 46.5, "test-dev", f"{_AUTOASSIGN}, Table 6"),
    Recipe("autoassign_X_101_64x4d_DCN_FPN_2x", 48.3, "test-dev", f"{_AUTOASSIGN}, Table 6"),
    Recipe(
        "autoassign_X_101_64x4d_DCN_FPN_2x_480_960", 49.5, "test-dev", f"{_AUTOASSIGN}, Table 6"
    ),
    Recipe(
        "autoassign_X_101_64x4d_DCN_FPN_2x_480_960_TTA", 52.1, "test-dev", f"{_AUTOASSIGN}, Table 6"
    ),
    Recipe("dsla_R_50_FPN_1x", 38.1, "val", f"{_DSLA}, training log", 4, 6.7),
    Recipe("dsla_R_101_DCN_FPN_2x", 46.6, "val", f"{_DSLA}, training log", 4, 11.0),
    Recipe("dsla_Swin_S_FPN_3x", 49.2, "val", f"{_DSLA}, training log", 4, 19.0),
    Recipe("fcos_R_50_FPN_1x", 38.7, "val", f"{_AUTOASSIGN}, Table 1"),
    Recipe("atss_R_50_FPN_1x", 39.3, "val", f"{_AUTOASSIGN}, Table 1"),
    Recipe("retinanet_R_50_FPN_1x", 36.3, "val", f"{_AUTOASSIGN}, Table 1"),
)

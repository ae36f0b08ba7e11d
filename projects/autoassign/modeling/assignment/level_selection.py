"""SAPD's feature selection network: at which level is an object best learned?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from ..grid import Grid
from ..ground_truth import GroundTruth

__all__ = ["LevelSelection"]

_POOLED_SIZE = 7
_SAMPLING_RATIO = 2


class LevelSelection(nn.Module):
    """Logits of the levels from an object's features, pooled at every level and concatenated.

    Three 3×3 convolutions without padding take 7×7 to 1×1, then one layer gives the logits
    (arXiv 1911.12448, Section 3.4).
    """

    def __init__(self, *, num_levels: int, feature_channels: int) -> None:
        """
        Args:
            num_levels: L.
            feature_channels: channels of the features of each level.
        """
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(num_levels * feature_channels, feature_channels, 3),
            nn.ReLU(),
            nn.Conv2d(feature_channels, feature_channels, 3),
            nn.ReLU(),
            nn.Conv2d(feature_channels, feature_channels, 3),
            nn.ReLU(),
        )
        self.level_score = nn.Linear(feature_channels, num_levels)

    def forward(self, features: Sequence[Tensor], grid: Grid, gt: GroundTruth) -> Tensor:
        """(M, L) logits of the levels for the objects.

        Args:
            features: (N, C, Hi, Wi) of each level.
            grid: the locations of an image.
            gt: the objects.
        """
        dtype = self.level_score.weight.dtype
        rois = torch.cat((gt.image_index[:, None].to(dtype), gt.boxes.to(dtype)), dim=1)
        pooled = [
            roi_align(
                feature.to(dtype),
                rois,
                output_size=_POOLED_SIZE,
                spatial_scale=1 / stride,
                sampling_ratio=_SAMPLING_RATIO,
                aligned=True,
            )
            for feature, stride in zip(features, grid.strides, strict=True)
        ]
        return self.level_score(self.convs(torch.cat(pooled, dim=1)).flatten(1))

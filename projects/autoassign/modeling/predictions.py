"""Dense predictions: one container from the head to losses, scores and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .grid import Grid
from .ground_truth import GroundTruth
from .losses import class_logits_at, logits_with_objectness
from .pairs import Pairs

__all__ = ["ExtraOutput", "Predictions", "decode"]


@dataclass(frozen=True)
class ExtraOutput:
    """A dense output that the head predicts from its box tower because a strategy asks for it.

    Attributes:
        name: key in :attr:`Predictions.extra`; the head's layer is called ``<name>_score``.
        channels: number of values at each location.
        bias: initial bias of the layer.
        guides_features: whether the features that classes and boxes are predicted from are adapted
            to this output (see :class:`~autoassign.modeling.layers.FeatureAdaption`).
    """

    name: str
    channels: int = 1
    bias: float = 0.0
    guides_features: bool = False


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions at the R locations of N images, all levels one after another.

    Attributes:
        cls_logits: (N, R, K) class logits. In memory the classes lie before the locations, as a
            convolution leaves them, so that flattening costs one copy.
        ltrb: (N, R, 4) distances to the left, top, right and bottom side, >= 0, in pixels.
        obj_logits: (N, R) objectness logits, or None for a head without objectness.
        extra: (N, R, C) of each :class:`ExtraOutput`, by name.
        features: (N, C, Hi, Wi) features of each level that the head saw; empty unless the
            strategy has ``needs_features``.
        iteration: of the training; 0 outside training.
    """

    cls_logits: Tensor
    ltrb: Tensor
    obj_logits: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    features: tuple[Tensor, ...] = ()
    iteration: int = 0

    @classmethod
    def from_levels(
        cls,
        *,
        cls_logits: Sequence[Tensor],
        ltrb: Sequence[Tensor],
        obj_logits: Sequence[Tensor] | None = None,
        extra: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> Predictions:
        """Flatten (N, C, Hi, Wi) of each level; half precision becomes float32."""
        return cls(
            cls_logits=_flatten(cls_logits),
            ltrb=_flatten(ltrb).contiguous(),
            obj_logits=None if obj_logits is None else _flatten(obj_logits).squeeze(2),
            extra={name: _flatten(levels) for name, levels in (extra or {}).items()},
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return self.cls_logits.shape[2]

    def class_probabilities(self) -> Tensor:
        """(N, R, K) σ(cls) · σ(obj); σ(cls) without objectness."""
        probabilities = self.cls_logits.sigmoid()
        if self.obj_logits is None:
            return probabilities
        return probabilities * self.obj_logits.sigmoid()[..., None]

    def logit_index(self, gt: GroundTruth, pairs: Pairs) -> Tensor:
        """(P,) offset in memory of the class logit of each pair: its object's class, its location.

        What :func:`~autoassign.modeling.losses.focal_loss` and its relatives call ``index``.
        """
        num_locations = self.cls_logits.shape[1]
        # image · K · R + class · R + location, image · R being in batch_locations
        shift = (gt.image_index * (self.num_classes - 1) + gt.classes) * num_locations
        return shift.index_select(0, pairs.objects) + pairs.batch_locations

    def pair_logits(self, gt: GroundTruth, pairs: Pairs) -> Tensor:
        """(P,) logit of the probability that each pair's location has its object's class.

        σ of it is σ(cls) · σ(obj); differentiable.
        """
        cls_logits = class_logits_at(self.cls_logits, self.logit_index(gt, pairs))
        if self.obj_logits is None:
            return cls_logits
        obj_logits = self.obj_logits.flatten().index_select(0, pairs.batch_locations)
        return logits_with_objectness(cls_logits, obj_logits)

    def location_logits(self, batch_locations: Tensor) -> Tensor:
        """(U, K) logits of the class probabilities at (U,) locations of the batch; differentiable.

        σ of them is σ(cls) · σ(obj).
        """
        num_locations = self.cls_logits.shape[1]
        image = torch.div(batch_locations, num_locations, rounding_mode="floor")
        logits = self.cls_logits[image, batch_locations % num_locations]
        if self.obj_logits is None:
            return logits
        obj_logits = self.obj_logits.flatten().index_select(0, batch_locations)
        return logits_with_objectness(logits, obj_logits[:, None])

    def pair_boxes(self, grid: Grid, pairs: Pairs) -> Tensor:
        """(P, 4) boxes predicted at the pairs' locations, xyxy in pixels; differentiable."""
        ltrb = self.ltrb.flatten(0, 1).index_select(0, pairs.batch_locations)
        return decode(ltrb, grid.locations.index_select(0, pairs.locations))


def decode(ltrb: Tensor, locations: Tensor) -> Tensor:
    """Boxes (..., 4), xyxy in pixels, of (..., 4) distances and (..., 2) locations in pixels."""
    return torch.cat((locations - ltrb[..., :2], locations + ltrb[..., 2:]), dim=-1)


def _flatten(per_level: Sequence[Tensor]) -> Tensor:
    """(N, C, Hi, Wi) of each level to (N, R, C); half precision becomes float32."""
    flat = torch.cat([x.flatten(2) for x in per_level], dim=2)
    return flat.to(torch.promote_types(flat.dtype, torch.float32)).transpose(1, 2)

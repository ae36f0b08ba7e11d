"""The costs that SimOTA compares, on the pairs that can be the cheapest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..grid import Grid
from ..ground_truth import GroundTruth
from ..losses import background_cost, paired_iou, probability_logits
from ..pairs import Pairs, cross_pairs, inside_mask
from ..predictions import Predictions, decode
from .geometry import candidate_pairs, center_distance, nearest_first, pair_ltrb, select_winners
from .segments import segment_sum, segment_topk
from .tiles import Overlaps, object_overlaps

__all__ = ["CandidateCosts"]

# Added to the IoU before its logarithm (MMDetection).
_EPS = 1e-7
# Share by which bounds are lowered, so that rounding never excludes a pair.
_MARGIN = 1e-2


@dataclass(frozen=True, kw_only=True)
class CandidateCosts:
    """Costs of the pairs of a batch.

    A candidate of an image lies inside any of its boxes, or inside the square around the center
    of any. A pair is inside if its location lies in both the box and the square of its object;
    all other pairs of a candidate are outside, and cost 1e5 more. The 1e5 only puts these last:
    it is not added here, so that it costs no precision.

    Attributes:
        predictions: of the batch.
        grid: the locations of an image.
        gt: objects of the batch.
        center_radius: half the side of an object's square, in strides.
        topk: how many of the greatest IoUs are added up to k.
        iou_weight: factor of -log IoU.
    """

    predictions: Predictions
    grid: Grid
    gt: GroundTruth
    center_radius: float
    topk: int
    iou_weight: float

    @cached_property
    def is_candidate(self) -> Tensor:
        """(N, R)."""
        boxes, image_index = self.gt.host_boxes, self.gt.image_index
        num_images = len(self.gt.counts)
        squares = _squares(boxes, self.grid, self.center_radius)
        inside_box = inside_mask(boxes, image_index, self.grid, num_images)
        return inside_box | inside_mask(squares, image_index, self.grid, num_images)

    @cached_property
    def boxes(self) -> Tensor:
        """(N, R, 4) predicted boxes."""
        return decode(self.predictions.ltrb, self.grid.locations)

    @cached_property
    def background_cost(self) -> Tensor:
        """(N, R) Σ_c BCE(p_c, 0)."""
        return background_cost(self.predictions.cls_logits, self.predictions.obj_logits)

    @cached_property
    def least_class_cost(self) -> Tensor:
        """(M,) the least that any location of the object's image costs by its classes."""
        logits = probability_logits(self.predictions.cls_logits, self.predictions.obj_logits)
        least = (self.background_cost[..., None] - logits).amin(dim=1)  # (N, K)
        return least[self.gt.image_index, self.gt.classes]

    def cost(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(P,) cross-entropies of all classes + weighted -log IoU, and (P,) IoUs."""
        boxes = self.predictions.pair_boxes(self.grid, pairs)
        iou = paired_iou(boxes, self.gt.boxes.index_select(0, pairs.objects))
        # BCE(p, 1) = BCE(p, 0) - logit(p)
        background = self.background_cost.flatten().index_select(0, pairs.batch_locations)
        class_cost = background - self.predictions.pair_logits(self.gt, pairs)
        return class_cost - self.iou_weight * (iou + _EPS).log(), iou

    def num_taken(self) -> Tensor:
        """(M,) k: the sum of the greatest IoUs with the boxes at candidates, at least 1."""
        total = self.gt.boxes.new_zeros(len(self.gt.boxes))
        for part in object_overlaps(self.boxes, self.gt, self.grid, wanted=self.is_candidate):
            greatest = part.iou.topk(min(self.topk, part.iou.shape[1]), dim=1).values
            total[part.objects] = greatest.sum(dim=1).to(total)
        return total.long().clamp(min=1)

    def inside_pairs(self) -> Pairs:
        """All pairs inside."""
        pairs = candidate_pairs(self.grid, self.gt, center_radius=self.center_radius)
        return pairs.select(self._is_inside(pairs))

    def outside_pairs(self, number: Tensor, inside: Pairs) -> Pairs:
        """The cheapest pairs outside of each object.

        The predicted boxes that overlap an object are looked at first. Without overlap a pair
        costs at least the least class cost and -log ε times the weight: only an object that
        finds too few cheaper ones is compared with all candidates of its image, in bounded parts.

        Args:
            number: (M,) pairs of each object.
            inside: all pairs inside.

        Returns:
            Pairs, of which none share a location unless it is in ``inside`` too: if several
            objects take it, it goes to the one of the image that it is cheapest for.
        """
        objects = number.nonzero().squeeze(1)
        parts = [inside.select(objects[:0])]
        if len(objects) == 0:
            return parts[0]
        for overlaps in object_overlaps(
            self.boxes, self.gt, self.grid, wanted=self.is_candidate, objects=objects
        ):
            least = self._least_iou(overlaps, number)
            row, column = (overlaps.iou > least[:, None]).nonzero(as_tuple=True)
            pairs = overlaps.pairs(row, column, self.gt, self.grid)
            parts.append(self._cheapest_outside(pairs, number))
        pairs, _ = Pairs.merge(parts, self.grid)

        limit = self.least_class_cost - self.iou_weight * math.log(_EPS)
        is_cheap = self.cost(pairs)[0] < limit[pairs.objects]
        num_cheap = segment_sum(is_cheap.to(number), pairs.objects, len(number))
        is_complete = num_cheap >= number
        parts = [pairs.select(is_complete[pairs.objects])]
        others = (~is_complete).nonzero().squeeze(1)
        for pairs in cross_pairs(others, self.is_candidate, self.gt.image_index, self.grid):
            parts.append(self._cheapest_outside(pairs, number))
        return self._resolve(Pairs.merge(parts, self.grid)[0], inside)

    def _is_inside(self, pairs: Pairs) -> Tensor:
        """(P,) whether the location lies in both the box and the square."""
        in_box = pair_ltrb(pairs, self.grid, self.gt).amin(dim=1) > 0
        return in_box & (center_distance(pairs, self.grid, self.gt) < self.center_radius)

    def _least_iou(self, overlaps: Overlaps, number: Tensor) -> Tensor:
        """(C,) a bound for the IoUs of the cheapest pairs outside of each object.

        The costs of the pairs of greatest IoU bound what a pair may cost; with no IoU below the
        bound a pair can be as cheap, its class cost being at least the least of the image.
        """
        row, column = overlaps.greatest(2 * self.topk)
        pairs = overlaps.pairs(row, column, self.gt, self.grid)
        # Where a row is filled up, or a location is no candidate, the IoU is 0.
        is_excluded = self._is_inside(pairs) | (overlaps.iou[row, column] == 0)
        cost = self.cost(pairs)[0].masked_fill(is_excluded, torch.inf)
        cost = cost.view(len(overlaps.objects), -1).sort(dim=1).values
        nth = (number[overlaps.objects] - 1).clamp(max=cost.shape[1] - 1)
        iou_cost = cost.gather(1, nth[:, None]).squeeze(1) - self.least_class_cost[overlaps.objects]
        iou = (-iou_cost / self.iou_weight).exp() - _EPS
        return (iou * (1 - _MARGIN)).clamp(min=0)

    def _cheapest_outside(self, pairs: Pairs, number: Tensor) -> Pairs:
        """The cheapest pairs outside among some, ``number`` (M,) of each object."""
        pairs = pairs.select(~self._is_inside(pairs))
        cost, _ = self.cost(pairs)
        ties = nearest_first(pairs, self.grid, self.gt)
        return pairs.select(segment_topk(-cost, pairs.objects, number, ties=ties))

    def _resolve(self, pairs: Pairs, inside: Pairs) -> Pairs:
        """Let the cheapest object of the image have each location that several pairs share.

        Locations of the pairs ``inside`` are left as they are: these compete too.
        """
        num_batch_locations = self.is_candidate.numel()
        is_contested = pairs.batch_locations.bincount(minlength=num_batch_locations) > 1
        is_contested[inside.batch_locations] = False
        mask = is_contested.view_as(self.is_candidate)
        objects = mask.any(dim=1)[self.gt.image_index].nonzero().squeeze(1)
        least = self.background_cost.new_full((num_batch_locations,), torch.inf)
        cheapest = objects.new_full((num_batch_locations,), -1)
        for part in cross_pairs(objects, mask, self.gt.image_index, self.grid):
            cost, _ = self.cost(part)
            index = select_winners(-cost, part, self.grid, self.gt)
            index = index[cost[index] < least[part.batch_locations[index]]]
            locations = part.batch_locations[index]
            least[locations] = cost[index]
            cheapest[locations] = part.objects[index]
        settled = (cheapest >= 0).nonzero().squeeze(1)
        chosen = Pairs.from_indices(
            cheapest[settled], settled % self.grid.num_locations, self.gt.image_index, self.grid
        )
        kept = pairs.select(~is_contested[pairs.batch_locations])
        return Pairs.merge((kept, chosen), self.grid)[0]


def _squares(boxes: Tensor, grid: Grid, radius: float) -> Tensor:
    """(M, L, 4) squares around the centers of boxes, their half sides ``radius`` strides."""
    centers = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    reach = radius * boxes.new_tensor(grid.strides)[:, None]
    return torch.cat((centers - reach, centers + reach), dim=2)

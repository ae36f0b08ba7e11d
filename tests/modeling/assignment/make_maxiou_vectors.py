"""Write golden_vectors/maxiou_assignment.npz, by detectron2's Matcher.

``python make_maxiou_vectors.py``
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2.modeling.matcher import Matcher
from torchvision.ops import box_iou

from autoassign.modeling import make_grid

STRIDES, IMAGE_SIZE = (8, 16, 32, 64), (192, 256)
# About as large as an anchor, so that no two anchors tie for an object: where they do, detectron2
# takes both.
OBJECTS = [
    [(5.3, 5.1, 75.0, 65.3, 1), (90.9, 40.4, 226.2, 158.0, 1), (30.1, 120.7, 81.3, 180.6, 0)],
    [(3.4, -20.2, 250.4, 220.1, 2), (60.2, 30.1, 127.0, 93.3, 0), (101.3, 91.2, 164.0, 150.1, 1)],
]


def main() -> None:
    sizes = tuple((-(-IMAGE_SIZE[0] // s), -(-IMAGE_SIZE[1] // s)) for s in STRIDES)
    grid = make_grid(STRIDES, sizes, torch.device("cpu"))
    reach = 4 * grid.location_strides[:, None]
    anchors = torch.cat((grid.locations - reach, grid.locations + reach), dim=1).double()
    matcher = Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True)
    tensors = {}
    for j, rows in enumerate(OBJECTS):
        objects = torch.tensor(rows, dtype=torch.float64)
        matched, labels = matcher(box_iou(objects[:, :4], anchors))
        matched[labels == 0] = -1
        matched[labels == -1] = -2
        tensors[f"gt_boxes_{j}"] = objects[:, :4].numpy()
        tensors[f"gt_classes_{j}"] = objects[:, 4].long().numpy()
        tensors[f"assigned_{j}"] = matched.numpy()
    np.savez_compressed(
        Path(__file__).parents[2] / "golden_vectors" / "maxiou_assignment.npz",
        strides=np.array(STRIDES),
        num_classes=3,
        image_size=np.array(IMAGE_SIZE),
        **tensors,
    )


if __name__ == "__main__":
    main()

"""Write golden_vectors/sapd_levels.npz, by the oracle: ``python make_sapd_vectors.py``.

SAPD's authors have published no code; the oracle is written from the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sapd_oracle
import torch
from torch import Tensor

from autoassign.modeling import make_grid
from autoassign.modeling.assignment.level_selection import LevelSelection

STRIDES, IMAGE_SIZE = (8, 16, 32, 64), (96, 128)
NUM_CLASSES, CHANNELS = 3, 4
OBJECTS = [
    [(5.3, 5.1, 55.0, 45.3, 1), (20.9, 10.4, 66.2, 58.0, 1), (8.1, 3.7, 28.3, 57.6, 0)],
    [(0.4, 0.2, 127.4, 95.2, 2), (60.2, 30.1, 71.0, 44.3, 0), (61.3, 31.2, 64.0, 33.1, 1)],
]


def main() -> None:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sizes = tuple((-(-IMAGE_SIZE[0] // s), -(-IMAGE_SIZE[1] // s)) for s in STRIDES)
    grid = make_grid(STRIDES, sizes, torch.device("cpu"), 0.5)
    levels = {}
    for i, size in enumerate(sizes):
        levels[f"cls_logits_{i}"] = randn(2, NUM_CLASSES, *size) - 2
        levels[f"ltrb_{i}"] = (0.7 * randn(2, 4, *size) + 3).exp()
        levels[f"features_{i}"] = randn(2, CHANNELS, *size)
    module = LevelSelection(num_levels=len(STRIDES), feature_channels=CHANNELS)
    network = {name: 0.4 * randn(*x.shape) for name, x in module.named_parameters()}
    for leaf in (*levels.values(), *network.values()):
        leaf.requires_grad_()

    def flat(name: str) -> Tensor:
        per_level = [levels[f"{name}_{i}"].flatten(2) for i in range(len(STRIDES))]
        return torch.cat(per_level, dim=2).transpose(1, 2)

    objects = [torch.tensor(rows, dtype=torch.float64) for rows in OBJECTS]
    columns = (grid.locations.tolist(), grid.location_strides.tolist(), grid.location_levels)
    result = sapd_oracle.oracle(
        flat("cls_logits"),
        flat("ltrb"),
        features=[levels[f"features_{i}"] for i in range(len(STRIDES))],
        network=network,
        locations=[(*xy, int(s), int(level)) for xy, s, level in zip(*columns, strict=True)],
        boxes=[x[:, :4] for x in objects],
        classes=[x[:, 4].long() for x in objects],
    )
    losses = {**result.losses, "loss_selection": 0.1 * result.losses["loss_selection"]}
    sum(losses.values()).backward()
    tensors = {
        **levels,
        **{f"selection.{name}": x for name, x in network.items()},
        **losses,
        **{f"grad_{name}": x.grad for name, x in levels.items()},
        **{f"grad_selection.{name}": x.grad for name, x in network.items()},
        **{f"gt_boxes_{j}": x[:, :4] for j, x in enumerate(objects)},
        **{f"gt_classes_{j}": x[:, 4].long() for j, x in enumerate(objects)},
    }
    np.savez_compressed(
        Path(__file__).parents[2] / "golden_vectors" / "sapd_levels.npz",
        strides=np.array(STRIDES),
        num_classes=NUM_CLASSES,
        image_size=np.array(IMAGE_SIZE),
        **{name: x.detach().numpy() for name, x in tensors.items()},
    )


if __name__ == "__main__":
    main()

"""Write reference vectors by the oracles, of methods that no original was run for.

``python make_oracle_vectors.py`` writes golden_vectors/sapd_levels.npz (its authors have published
no code) and guidedanchoring_anchors.npz (here boxes are not predicted relative to the anchors).
"""

from __future__ import annotations

from pathlib import Path

import guided_anchoring_oracle
import numpy as np
import sapd_oracle
import torch
from torch import Tensor

from autoassign.modeling import make_grid
from autoassign.modeling.assignment.level_selection import LevelSelection

STRIDES, IMAGE_SIZE = (8, 16, 32, 64), (96, 128)
SIZES = tuple((-(-IMAGE_SIZE[0] // s), -(-IMAGE_SIZE[1] // s)) for s in STRIDES)
NUM_CLASSES, CHANNELS = 3, 4
OBJECTS = [
    torch.tensor(rows, dtype=torch.float64)
    for rows in (
        [(5.3, 5.1, 55.0, 45.3, 1), (20.9, 10.4, 66.2, 58.0, 1), (8.1, 3.7, 28.3, 57.6, 0)],
        [(0.4, 0.2, 127.4, 95.2, 2), (60.2, 30.1, 71.0, 44.3, 0), (61.3, 31.2, 64.0, 33.1, 1)],
    )
]
GROUND_TRUTH = {
    "boxes": [x[:, :4] for x in OBJECTS],
    "classes": [x[:, 4].long() for x in OBJECTS],
}


class Inputs:
    """Random tensors as leaves that collect gradients, by the names of the file."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.leaves: dict[str, Tensor] = {}
        self.add_levels("cls_logits", NUM_CLASSES, shift=-2)
        self.add_levels("ltrb", 4, scale=0.7, shift=3)
        for i in range(len(STRIDES)):
            self.leaves[f"ltrb_{i}"] = self.leaves[f"ltrb_{i}"].exp()

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def add_levels(self, name: str, channels: int, scale: float = 1, shift: float = 0) -> None:
        for i, size in enumerate(SIZES):
            self.leaves[f"{name}_{i}"] = scale * self.randn(2, channels, *size) + shift

    def levels(self, name: str) -> list[Tensor]:
        return [self.leaves[f"{name}_{i}"].requires_grad_() for i in range(len(STRIDES))]

    def flat(self, name: str) -> Tensor:
        return torch.cat([x.flatten(2) for x in self.levels(name)], dim=2).transpose(1, 2)

    def write(self, name: str, losses: dict[str, Tensor]) -> None:
        """The file, with the gradients of the sum of the losses."""
        sum(losses.values()).backward()
        tensors = {
            **self.leaves,
            **losses,
            **{f"grad_{name}": leaf.grad for name, leaf in self.leaves.items()},
            **{f"gt_{key}_{j}": x for key, xs in GROUND_TRUTH.items() for j, x in enumerate(xs)},
        }
        np.savez_compressed(
            Path(__file__).parents[2] / "golden_vectors" / name,
            strides=np.array(STRIDES),
            num_classes=NUM_CLASSES,
            image_size=np.array(IMAGE_SIZE),
            **{key: x.detach().numpy() for key, x in tensors.items()},
        )


def locations(offset: float) -> list[tuple[float, float, int, int]]:
    grid = make_grid(STRIDES, SIZES, torch.device("cpu"), offset)
    columns = (grid.locations.tolist(), grid.location_strides.tolist(), grid.location_levels)
    return [(*xy, int(s), int(level)) for xy, s, level in zip(*columns, strict=True)]


def write_sapd() -> None:
    inputs = Inputs()
    inputs.add_levels("features", CHANNELS)
    module = LevelSelection(num_levels=len(STRIDES), feature_channels=CHANNELS)
    network = {
        name: (0.4 * inputs.randn(*x.shape)).requires_grad_()
        for name, x in module.named_parameters()
    }
    inputs.leaves |= {f"selection.{name}": x for name, x in network.items()}
    result = sapd_oracle.oracle(
        inputs.flat("cls_logits"),
        inputs.flat("ltrb"),
        features=inputs.levels("features"),
        network=network,
        locations=locations(0.5),
        **GROUND_TRUTH,
    )
    losses = {**result.losses, "loss_selection": 0.1 * result.losses["loss_selection"]}
    inputs.write("sapd_levels.npz", losses)


def write_guided_anchoring() -> None:
    inputs = Inputs()
    inputs.add_levels("anchor_location", 1)
    inputs.add_levels("anchor_shape", 2, scale=0.7, shift=-0.7)
    names = ("cls_logits", "ltrb", "anchor_location", "anchor_shape")
    result = guided_anchoring_oracle.oracle(
        *map(inputs.flat, names), locations=locations(0.0), **GROUND_TRUTH
    )
    losses = {**result.losses, "loss_shape": 0.1 * result.losses["loss_shape"]}
    inputs.write("guidedanchoring_anchors.npz", losses)


if __name__ == "__main__":
    write_sapd()
    write_guided_anchoring()

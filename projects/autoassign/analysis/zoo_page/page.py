"""docs/model_zoo.md: a row for each recipe on COCO."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tabulate import tabulate

from ... import modeling  # noqa: F401 (registers the detector)
from ...config import load_config
from ..benchmark import count_model
from .memory import training_memory
from .recipes import RECIPES, Recipe

__all__ = ["model_zoo_page"]

_RESULTS = ("config", "published AP", "source", "schedule", "short side", "parameters", "GFLOPs")
_MEMORY = (
    "config",
    "2 images",
    "2 images, checkpointed",
    "images per GPU",
    "estimated",
    "published",
)
_KEEPING_NORMS = ("MODEL.RESNETS.NORM", "AffineBN")
_PAGE = """\
# Model zoo

What the files in `configs/COCO-Detection` train, and what it takes. Every AP here is **published**,
on the images that stand beside it; none was measured here. The other files there are
`autoassign_R_50_FPN_1x` with another label assignment, for which nothing is published on this head.
This page is written by

```sh
make zoo
```

## Results and costs

{results}

Schedules are in iterations of 16 images. Parameters are in millions, those of the whole detector;
frozen batch norms have none. FLOPs are those of backbone and head for one image of 800 × 1333
pixels, counted by fvcore: a multiplication and an addition are one, and what only adds, scales or
samples is not counted. With TTA, 26 views of an image are seen; the FLOPs are those of one.

## Memory

Peak of a training step on images of 800 × 1333 pixels, in GB. Estimates follow every tensor of a
forward and a backward pass from its allocation to its end, and add the state of the optimizer; the
loss (less than 0.1 GB, see the README) and the workspace of cuDNN are not in them. "Checkpointed"
is with `MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS True`. Published are the peaks in the logs of
MMDetection's AutoAssign and of DSLA, which MMDetection trained too.

{memory}

MMDetection's frozen batch norms are batch norms in evaluation mode, whose backward pass keeps their
input, while detectron2's keep nothing. With `MODEL.RESNETS.NORM AffineBN`, which keeps it too, the
estimates of the two rows of R-50 with a published figure are {autoassign_r50} and {dsla_r50} GB. To
this MMDetection's AutoAssign loss adds 0.2 GB at 10 objects an image and 1.1 GB at 100 (see the
README).
"""


def model_zoo_page(recipes: Sequence[Recipe] = RECIPES) -> str:
    """The page as Markdown; it takes about a minute for each recipe."""
    results, memory = [], []
    for recipe in recipes:
        cfg = _config(recipe.config)
        results.append(_result_row(recipe, cfg))
        memory.append(_memory_row(recipe, cfg))
    return _PAGE.format(
        results=_table(_RESULTS, results),
        memory=_table(_MEMORY, memory),
        autoassign_r50=_memory(_config("autoassign_R_50_FPN_1x"), 2, *_KEEPING_NORMS),
        dsla_r50=_memory(_config("dsla_R_50_FPN_1x"), 4, *_KEEPING_NORMS),
    )


def _result_row(recipe: Recipe, cfg: CfgNode) -> tuple[str, ...]:
    *_, whole = count_model(build_model(cfg))
    sizes = sorted(set(cfg.INPUT.MIN_SIZE_TRAIN))
    return (
        _link(recipe),
        f"{recipe.ap} ({recipe.split})",
        recipe.source,
        f"{cfg.SOLVER.MAX_ITER / 1000:.1f}k",
        "–".join(map(str, sizes)),
        f"{whole.parameters / 1e6:.1f}",
        f"{whole.gflops:.0f}",
    )


def _memory_row(recipe: Recipe, cfg: CfgNode) -> tuple[str, ...]:
    checkpointed = ""
    if cfg.MODEL.META_ARCHITECTURE == "PointDetector":
        checkpointed = _memory(cfg, 2, "MODEL.BACKBONE.CHECKPOINT_ACTIVATIONS", True)
    return (
        _link(recipe),
        _memory(cfg, 2),
        checkpointed,
        str(recipe.images_per_gpu),
        _memory(cfg, recipe.images_per_gpu),
        "" if recipe.memory is None else f"{recipe.memory}",
    )


def _config(name: str) -> CfgNode:
    return load_config(f"COCO-Detection/{name}.yaml", ["MODEL.DEVICE", "cpu"])


def _memory(cfg: CfgNode, images: int, *options: object) -> str:
    cfg = cfg.clone()
    cfg.merge_from_list(list(options))
    states = 2 if cfg.SOLVER.OPTIMIZER == "ADAMW" else 1
    return f"{training_memory(build_model(cfg), images, states) / 2**30:.2f}"


def _link(recipe: Recipe) -> str:
    return f"[{recipe.config}](../configs/COCO-Detection/{recipe.config}.yaml)"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)

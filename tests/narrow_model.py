"""The shipped small model, narrower still, and inputs for it."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from autoassign import add_autoassign_config, get_config_file
from autoassign.config import LABEL_ASSIGNMENT_REGISTRY

# The least channels that GroupNorm's 32 groups allow in the pyramid.
NARROW: tuple[object, ...] = (
    *("MODEL.DEVICE", "cpu", "MODEL.CHANNELS_LAST", False),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 8),
    *("MODEL.FPN.OUT_CHANNELS", 32, "MODEL.POINT_HEAD.NUM_CONVS", 1),
)


def narrow_cfg(*options: object) -> CfgNode:
    cfg = get_cfg()
    add_autoassign_config(cfg)
    cfg.merge_from_file(get_config_file("Base-Small.yaml"))
    cfg.merge_from_list([*NARROW, "MODEL.POINT_HEAD.NUM_CLASSES", 5, *options])
    return cfg


def narrow_model(*options: object, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(narrow_cfg(*options))


def head_options(name: str) -> list[object]:
    """The options of a strategy's recipe."""
    options = LABEL_ASSIGNMENT_REGISTRY.get(name).head_options
    pairs = [(f"MODEL.POINT_HEAD.{key}", value) for key, value in options.items()]
    return ["MODEL.LABEL_ASSIGNMENT.NAME", name, *(x for pair in pairs for x in pair)]


def image_input(
    boxes: list[list[float]], classes: list[int], size: tuple[int, int] = (96, 128), seed: int = 0
) -> dict:
    """One image of random pixels with the objects given, as a dataset mapper returns it."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
        "instances": Instances(
            size,
            gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
            gt_classes=torch.tensor(classes, dtype=torch.long),
        ),
    }


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()

"""From a checkpoint of another tool to one of this project, and back to MMDetection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import Tensor

from ... import __version__
from ...config import first_of, load_config
from ...modeling import PointDetector
from ..description import CheckpointDescription
from . import mmdetection
from .families import FAMILIES, STYLES, Family, find_family
from .options import options_from_tensors

__all__ = ["convert_checkpoint", "to_mmdetection"]

_SCALES = "head.scales"
# A buffer that Swin computes.
_CONSTANT = ".relative_position_index"
_MAX_NAMES = 20


def convert_checkpoint(
    checkpoint: Mapping[str, Any], *, source: str, style: str | None = None
) -> dict[str, Any]:
    """Convert what :func:`~autoassign.checkpoint.read_weight_file` has read.

    Args:
        checkpoint: with the tensors in "model"; MMDetection's "meta" is read too.
        source: where it comes from, for the result and for errors.
        style: "caffe" or "pytorch", whose ImageNet weights the backbone began with, for files
            that do not tell: it decides channel order, normalization and the place of strides.

    Returns:
        A checkpoint: "model", which a :class:`~autoassign.PointDetector` of its config loads
        strictly, its :class:`~autoassign.checkpoint.CheckpointDescription`, where classes without
        a known name are "class 0", "class 1", ..., and "source".

    Raises:
        ValueError: the source is unknown, or its tensors are not those of the detector that it is
            taken for; these are listed.
    """
    theirs = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items()}
    family = find_family(set(theirs))
    if family is None:
        families = "; ".join(family.name for family in FAMILIES)
        raise ValueError(
            f"{source} is of no source that is converted ({families}): none of these tensors is "
            f"enough to tell one: {first_of(list(theirs), _MAX_NAMES)}"
        )
    tensors = _renamed(source, family, theirs)
    meta = checkpoint.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    # MMDetection 2 and 3 have the text of their config under these names.
    text = str(meta.get("config", "")) + str(meta.get("cfg", ""))
    try:
        cfg = _config(family, tensors, text, style)
        model = _load_strictly(cfg, tensors)
    except ValueError as error:
        raise ValueError(f"{source} is taken for {family.name}: {error}") from error
    names, ids = _classes(meta, cfg.MODEL.POINT_HEAD.NUM_CLASSES)
    description = CheckpointDescription(__version__, cfg.dump(), names, ids)
    return {"model": model, **description.to_checkpoint(), "source": f"{family.name}: {source}"}


def _renamed(source: str, family: Family, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by our names, with scales in one tensor."""
    ours: dict[str, Tensor] = {}
    unmatched = []
    for name, tensor in theirs.items():
        if family.naming.drops(name):
            continue
        new = family.naming.to_ours(name)
        if new is None:
            unmatched.append(name)
        else:
            ours[new] = tensor
    if unmatched:
        raise ValueError(
            f"{source} looks like {family.name}, but {len(unmatched)} of its {len(theirs)} tensors "
            f"are not known: {first_of(unmatched, _MAX_NAMES)}"
        )
    family.adapt(ours)
    scales = [name for name in ours if name.startswith(f"{_SCALES}.")]
    if scales:
        ordered = sorted(scales, key=lambda name: int(name.rpartition(".")[2]))
        ours[_SCALES] = torch.stack([ours.pop(name).reshape(()) for name in ordered])
    return ours


def _config(family: Family, tensors: Mapping[str, Tensor], text: str, style: str | None) -> CfgNode:
    style = style or _style_in(text) or family.style
    if style is None:
        raise ValueError(
            "it does not tell whether its backbone began with Caffe's weights (BGR, strides in the "
            "first convolutions) or with PyTorch's: --style caffe, or --style pytorch"
        )
    options = dict(STYLES[style])
    if style == "caffe":
        options |= family.caffe
    options |= _normalization_in(text)
    options |= options_from_tensors(tensors) | family.options(tensors, text)
    # The weights are those of a whole detector; a training would load the backbone's again.
    options["MODEL.WEIGHTS"] = ""
    return load_config(family.config_file, [item for pair in options.items() for item in pair])


def _style_in(text: str) -> str | None:
    found = re.search(r"\bstyle='(caffe|pytorch)'", text)
    return found[1] if found else None


def _normalization_in(text: str) -> dict[str, Any]:
    """What a MMDetection config says of the input's channels."""
    mean = re.search(r"\bmean=\[([\d.,\s]+)\]", text)
    std = re.search(r"\bstd=\[([\d.,\s]+)\]", text)
    is_rgb = re.search(r"\b(?:bgr_)?to_rgb=(True|False)", text)
    if not (mean and std and is_rgb):
        return {}
    return {
        "MODEL.PIXEL_MEAN": [float(number) for number in re.findall(r"[\d.]+", mean[1])],
        "MODEL.PIXEL_STD": [float(number) for number in re.findall(r"[\d.]+", std[1])],
        "INPUT.FORMAT": "RGB" if is_rgb[1] == "True" else "BGR",
    }


def _load_strictly(cfg: CfgNode, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a model that these tensors have filled, all of it and nothing else."""
    model = PointDetector(cfg)
    expected = model.state_dict()
    constants = {name: x for name, x in expected.items() if name.endswith(_CONSTANT)}
    given = constants | dict(tensors)
    problems = {
        "missing": sorted(expected.keys() - given.keys()),
        "unknown": sorted(given.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    found = [
        f"{kind} are {first_of(names, _MAX_NAMES)}" for kind, names in problems.items() if names
    ]
    if found:
        raise ValueError(f"its tensors are not those of the detector: {'; '.join(found)}")
    model.load_state_dict(given)
    return model.state_dict()


def _classes(meta: Mapping[str, Any], num_classes: int) -> tuple[list[str], dict[int, int]]:
    """Names and dataset ids of the classes; 80 without a name are COCO's."""
    dataset = meta.get("dataset_meta")
    places = (meta, dataset) if isinstance(dataset, Mapping) else (meta,)
    found = [place[key] for place in places for key in ("CLASSES", "classes") if place.get(key)]
    names = list(map(str, found[0])) if found and isinstance(found[0], list | tuple) else []
    coco = MetadataCatalog.get("coco_2017_val")
    if len(names) != num_classes:
        names = [f"class {index}" for index in range(num_classes)]
        if num_classes == len(coco.thing_classes):
            names = list(coco.thing_classes)
    ids = {index: index for index in range(num_classes)}
    if names == coco.thing_classes:
        ids = dict(coco.thing_dataset_id_to_contiguous_id)
    return names, ids


def to_mmdetection(checkpoint: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Convert a checkpoint of this project's AutoAssign to one of MMDetection.

    Args:
        checkpoint: as :func:`~autoassign.checkpoint.read_weight_file` returns it.
        source: the file, for errors.

    Returns:
        "state_dict", which MMDetection's AutoAssign loads strictly, and "meta" with the names of
        the classes as MMDetection 2 ("CLASSES") and 3 ("dataset_meta") look for them.

    Raises:
        ValueError: the detector has tensors that MMDetection's AutoAssign lacks, or lacks some.
    """
    ours = {name: torch.as_tensor(value) for name, value in checkpoint["model"].items()}
    for index, scale in enumerate(ours.pop(_SCALES, ())):
        ours[f"{_SCALES}.{index}"] = scale
    naming = mmdetection.AUTOASSIGN
    theirs: dict[str, Tensor] = {}
    unmatched = []
    for name, tensor in ours.items():
        new = naming.to_theirs(name)
        if new is None:
            unmatched.append(name)
            continue
        theirs[new] = tensor.clone()
        if name.endswith(".running_var"):
            # Counts that detectron2's frozen norms do not have and nothing reads.
            counter = f"{new.removesuffix('running_var')}num_batches_tracked"
            theirs[counter] = torch.zeros((), dtype=torch.long)
    missing = [name for name in FAMILIES[0].marks if name not in theirs]
    if unmatched or missing:
        verb = "has" if unmatched else "lacks"
        names = first_of(unmatched or missing, _MAX_NAMES)
        raise ValueError(f"{source} is no AutoAssign that MMDetection has: it {verb} {names}")
    description = CheckpointDescription.from_checkpoint(checkpoint)
    classes = tuple(description.thing_classes) if description else ()
    meta = {"CLASSES": classes, "dataset_meta": {"classes": classes}} if classes else {}
    return {"meta": meta, "state_dict": theirs}

"""Convert weights of other tools, or AutoAssign's back to MMDetection.

    autoassign convert auto_assign_r50_fpn_1x_coco.pth autoassign.pth
    autoassign convert epoch_12.pth mine.safetensors --style caffe
    autoassign convert output/mine/model_best.pth for_mmdetection.pth --to mmdet
    autoassign convert --trust --to tensors from_a_friend.pth safe.pth

SOURCE is AutoAssign, FCOS (improved) or ATSS of MMDetection 2 or 3, DSLA of its fork of
MMDetection, AutoAssign of cvpods, or FCOS of AdelaiDet or detectron2; its tensors tell which.
OUTPUT, .pth or .safetensors, holds the weights with their config and class names, so that
`autoassign eval --weights OUTPUT` needs nothing else. The weights have been loaded strictly.
"""

from __future__ import annotations

import argparse
import os

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``autoassign convert``."""
    parser.add_argument("source", metavar="SOURCE", help="a file or an address")
    parser.add_argument(
        "output", metavar="OUTPUT", help="a .pth or .safetensors; overwritten if it exists"
    )
    parser.add_argument(
        "--to",
        choices=("autoassign", "mmdet", "tensors"),
        default="autoassign",
        help="tensors: as they are, without anything else (default: autoassign)",
    )
    parser.add_argument(
        "--style",
        choices=("caffe", "pytorch"),
        help="whose ImageNet weights the backbone began with, where SOURCE does not tell",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="read a SOURCE that can run code, because you trust its author",
    )


def run(args: argparse.Namespace) -> None:
    """Convert and write."""
    import torch

    from ..checkpoint import (
        check_published,
        check_weight_suffix,
        convert_checkpoint,
        local_weight_file,
        read_weight_file,
        to_mmdetection,
        write_weight_file,
    )

    if args.to == "mmdet" and not args.output.endswith(".pth"):
        raise ValueError(f"{args.output}: MMDetection reads .pth")
    check_weight_suffix(args.output)
    check_published(args.source, local_weight_file(args.source))
    checkpoint = read_weight_file(args.source, trust=args.trust)
    name = os.path.basename(args.source)
    if args.to == "mmdet":
        converted = to_mmdetection(checkpoint, source=name)
        print(f"{len(converted['state_dict'])} tensors for MMDetection's AutoAssign")
    elif args.to == "tensors":
        tensors = {name: torch.as_tensor(x) for name, x in checkpoint["model"].items()}
        converted = {"model": tensors}
        print(f"{len(converted['model'])} tensors")
    else:
        converted = convert_checkpoint(checkpoint, source=name, style=args.style)
        print(f"{converted['source']}: {len(converted['model'])} tensors, all used")
    write_weight_file(args.output, converted)
    print(f"{args.output}: {os.path.getsize(args.output) / 2**20:.1f} MB")

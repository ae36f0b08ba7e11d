"""Start a training in one process, in several, or in those that torchrun has started."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import detectron2.utils.comm as comm
import torch
import torch.distributed as dist
from detectron2.engine import launch as detectron2_launch
from detectron2.engine.launch import DEFAULT_TIMEOUT

__all__ = ["launch"]


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    """Call ``main(args)`` in every worker.

    Under torchrun this process is one of the workers already. Otherwise ``--num-gpus`` processes
    are started on this machine, as detectron2 does. Without CUDA there is one, on the CPU.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _join_torchrun()
        main(args)
        dist.destroy_process_group()
        return
    num_gpus = args.num_gpus
    if not torch.cuda.is_available() and num_gpus > 1:
        print(f"No CUDA device is available: instead of {num_gpus} GPUs, one process on the CPU.")
        num_gpus = 1
    detectron2_launch(
        main,
        num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


def _join_torchrun() -> None:
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if has_cuda else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()

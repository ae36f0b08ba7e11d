"""Start a training in one process, in several, or in those that torchrun has started."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import detectron2.utils.comm as comm
import torch
import torch.distributed as dist
from detectron2.engine import launch as detectron2_launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from torch.multiprocessing.spawn import ProcessExitedException

__all__ = ["launch", "leave_process_group"]


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    """Call ``main(args)`` in every worker.

    Under torchrun this process is one of the workers already. Otherwise ``--num-gpus`` processes
    are started on this machine, as detectron2 does. Without CUDA there is one, on the CPU.

    Raises:
        SystemExit: a process that was started has ended itself, with the same exit status.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _join_torchrun()
        _work(main, args)
        return
    num_gpus = args.num_gpus
    if not torch.cuda.is_available() and num_gpus > 1:
        print(f"No CUDA device is available: instead of {num_gpus} GPUs, one process on the CPU.")
        num_gpus = 1
    if num_gpus * args.num_machines == 1:
        main(args)
    else:
        start_workers(main, args, num_gpus)


def start_workers(
    main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, num_workers: int
) -> None:
    """Call ``main(args)`` in new processes, which signals to this one are left to.

    Args:
        main: a function of a module.
        args: with ``num_machines``, ``machine_rank`` and ``dist_url``.
        num_workers: processes on this machine.

    Raises:
        SystemExit: see :func:`launch`.
    """
    with _signals_left_to_workers():
        try:
            detectron2_launch(
                _work,
                num_workers,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=args.dist_url,
                args=(main, args),
            )
        except ProcessExitedException as error:
            code = error.exit_code
            raise SystemExit(code if code >= 0 else 128 - code) from error


def leave_process_group() -> None:
    """Destroy the process group at the end of a worker.

    A gloo group that anything refers to until the interpreter's exit may abort the process there
    (https://github.com/pytorch/pytorch/issues/190489), and detectron2 keeps one for objects.
    """
    comm._get_global_gloo_group.cache_clear()
    dist.destroy_process_group()


def _work(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    main(args)
    leave_process_group()


@contextmanager
def _signals_left_to_workers() -> Iterator[None]:
    """Without it, this process would end before them."""

    def forward(number: int, frame: FrameType | None) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()

    handlers = {
        # A terminal sends SIGINT to the workers, too.
        signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _join_torchrun() -> None:
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world_size = next(dist.rendezvous("env://", timeout=DEFAULT_TIMEOUT))
    local_world_size = int(os.environ["LOCAL_WORLD_SIZE"])
    # torchrun keeps one store for all restarts (https://github.com/pytorch/pytorch/issues/135712):
    # without the prefix, workers meet the addresses of killed ones. The count is that of this
    # machine alone.
    if world_size == local_world_size:
        store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    dist.init_process_group(
        "nccl" if has_cuda else "gloo",
        timeout=DEFAULT_TIMEOUT,
        store=store,
        rank=rank,
        world_size=world_size,
    )
    comm.create_local_process_group(local_world_size)
    comm.synchronize()

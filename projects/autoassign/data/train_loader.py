"""The training data as a function of seed and iteration, so that training can resume anywhere."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MapDataset, build_detection_train_loader
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader, Dataset, Sampler

from .catalog import TableDataset
from .dataset_mapper import CheckedDatasetMapper
from .fast_mapper import FastDatasetMapper
from .loading_processes import NotingMapper
from .mixing import MixedDataset
from .packing import PackedBatch

__all__ = ["TrainingBatches", "build_train_loader", "build_train_mapper", "derive_seed"]

# A sample in the stream of one worker: its place there, and the index of its image.
Sample = tuple[int, int]


def derive_seed(*key: int) -> int:
    """A seed of 32 bits for what ``key`` names; other keys give independent ones.

    Zeros at the end of a key make no difference.
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0])


class TrainingBatches(Sampler[list[Sample]]):
    """The endless batches of one worker, from any iteration on.

    Attributes:
        start_iter: iterations that are left out, when iteration over the batches begins.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, groups: Sequence[int]) -> None:
        """
        Args:
            sampler: the endless indices of this worker's images, the same in each iteration over
                it, such as detectron2's samplers.
            batch_size: of this worker.
            groups: a number for each image; a batch has images of one number.
        """
        self._sampler = sampler
        self._batch_size = batch_size
        self._groups = groups
        self.start_iter = 0

    def __iter__(self) -> Iterator[list[Sample]]:
        return itertools.islice(self._all_batches(), self.start_iter, None)

    def _all_batches(self) -> Iterator[list[Sample]]:
        # detectron2 groups images after they have been read: skipping would read them all.
        incomplete: dict[int, list[Sample]] = defaultdict(list)
        for place, index in enumerate(self._sampler):
            group = self._groups[index]
            incomplete[group].append((place, index))
            if len(incomplete[group]) == self._batch_size:
                yield incomplete.pop(group)


class _SeededSamples(Dataset):
    """A dataset whose augmentations draw the same for the same place in the stream.

    Neither the number of loading processes nor what was drawn before makes a difference. The first
    ``num_first`` samples of the stream are those of ``first``, which has the same images.
    """

    def __init__(self, dataset: Dataset, seed: int, first: Dataset, num_first: float) -> None:
        self._dataset = dataset
        self._seed = seed
        self._first = first
        self._num_first = num_first
        self._rank = comm.get_rank()

    def __getitem__(self, sample: Sample) -> Any:
        place, index = sample
        seed_all_rng(derive_seed(self._seed, self._rank, place, 1))
        return (self._first if place < self._num_first else self._dataset)[index]


class _PackingLoader(DataLoader):
    """A DataLoader whose processes pack their batches."""

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:  # type: ignore[override]
        for batch in super().__iter__():
            yield batch.unpack() if isinstance(batch, PackedBatch) else batch


def _leave_signals_to_training(worker_id: int) -> None:
    """Ctrl-C and clusters signal all processes, but the training decides when its loaders end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_training, daemon=True).start()


def _end_with_training() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def build_train_mapper(cfg: CfgNode) -> CheckedDatasetMapper:
    """The mapper of training images: :class:`FastDatasetMapper` with ``FAST_MAPPER``.

    Raises:
        ValueError: ``CACHE_GB`` is set without ``FAST_MAPPER``.
    """
    if cfg.DATALOADER.FAST_MAPPER:
        return FastDatasetMapper(cfg)
    if cfg.DATALOADER.CACHE_GB:
        raise ValueError("DATALOADER.CACHE_GB needs DATALOADER.FAST_MAPPER True")
    return CheckedDatasetMapper(cfg, is_train=True)


def build_train_loader(
    cfg: CfgNode, *, mapper: Callable[[dict[str, Any]], dict[str, Any]]
) -> DataLoader:
    """detectron2's training loader, which can start at any iteration.

    Datasets, filters, samplers, aspect-ratio grouping and loading processes are those that
    :func:`detectron2.data.build_detection_train_loader` takes from ``cfg``. Order and augmentations
    are a function of ``SEED``, or of a random seed where that is negative. The loader's
    ``batch_sampler`` is a :class:`TrainingBatches`; its ``start_iter`` counts when the loader is
    next iterated over.

    Args:
        cfg: the config.
        mapper: turns a dataset dict into an input of the model.

    Raises:
        ValueError: ``SOLVER.IMS_PER_BATCH`` is no multiple of the number of workers, or mosaic or
            mixup is asked for with a dataset that is no list.
    """
    num_workers = comm.get_world_size()
    batch_size, rest = divmod(cfg.SOLVER.IMS_PER_BATCH, num_workers)
    if rest or not batch_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}; it must be a multiple of the "
            f"{num_workers} workers"
        )
    mapper = NotingMapper(mapper, cfg.DATALOADER.NUM_WORKERS)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    np.random.seed(derive_seed(seed))  # noqa: NPY002 - samplers draw their seeds from there
    arguments = build_detection_train_loader.from_config(cfg, mapper=mapper)
    records = arguments["dataset"]
    grouping = arguments["aspect_ratio_grouping"]
    if isinstance(records, list):
        groups = [grouping and x.get("width", 0) > x.get("height", 0) for x in records]
        records = DatasetFromList(records, copy=False)
    elif isinstance(records, TableDataset):
        heights, widths = records.table.sizes.T
        groups = (grouping & (widths > heights)).tolist()
    else:  # a Dataset object that a user registered
        if _is_mixing(cfg):
            raise ValueError(
                "INPUT.MOSAIC_PROB and MIXUP_PROB need datasets that are lists of dicts"
            )
        return build_detection_train_loader(**arguments)
    first = dataset = MapDataset(records, mapper)
    if _is_mixing(cfg):
        options = cfg.INPUT
        first = MixedDataset(
            dataset, mosaic_prob=options.MOSAIC_PROB, mixup_prob=options.MIXUP_PROB
        )
    num_first = cfg.INPUT.MIX_UNTIL * cfg.SOLVER.MAX_ITER * batch_size
    return _PackingLoader(
        _SeededSamples(dataset, seed, first, num_first),
        batch_sampler=TrainingBatches(arguments["sampler"], batch_size, groups),
        num_workers=arguments["num_workers"],
        collate_fn=PackedBatch if arguments["num_workers"] else trivial_batch_collator,
        worker_init_fn=_leave_signals_to_training,
        # The detector does not wait for copies of what is pinned.
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda"),
    )


def _is_mixing(cfg: CfgNode) -> bool:
    return bool(cfg.INPUT.MOSAIC_PROB or cfg.INPUT.MIXUP_PROB)

import itertools
import os
import signal

import pytest
import torch
from detectron2.data import MapDataset
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from autoassign.data import (
    NotingMapper,
    build_train_loader,
    build_train_mapper,
    naming_lost_file,
    register_custom_datasets,
)
from autoassign.data.train_loader import TrainingBatches, derive_seed


class Stream:
    """An endless order of up to 12 images, which visits all of them."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self):
        return (index * 13 % self.size for index in itertools.count())


def batches(stream, batch_size, groups, start, count):
    sampler = TrainingBatches(stream, batch_size, groups)
    sampler.start_iter = start
    return list(itertools.islice(sampler, count))


def test_batches_count_the_samples_and_start_where_they_are_told():
    first = batches([4, 2, 0, 1, 3, 4], 2, [0] * 5, start=0, count=3)
    assert first == [[(0, 4), (1, 2)], [(2, 0), (3, 1)], [(4, 3), (5, 4)]]
    assert batches([4, 2, 0, 1, 3, 4], 2, [0] * 5, start=1, count=3) == first[1:]


def test_a_batch_has_images_of_one_group_in_the_order_of_the_stream():
    # Images 0 and 2 are wide; the tall ones 1 and 3 are complete first.
    assert batches([0, 1, 3, 2], 2, [1, 0, 1, 0], start=0, count=2) == [
        [(1, 1), (2, 3)],
        [(0, 0), (3, 2)],
    ]


@given(
    groups=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    batch_size=st.integers(1, 4),
    start=st.integers(0, 20),
)
def test_starting_later_is_skipping(groups, batch_size, start):
    stream = Stream(len(groups))
    whole = batches(stream, batch_size, groups, 0, start + 3)
    assert batches(stream, batch_size, groups, start, 3) == whole[start:]
    places = [place for batch in whole for place, _ in batch]
    assert len(set(places)) == len(places)
    assert all(len({groups[i] for _, i in batch}) == 1 for batch in whole)


def test_iterating_again_gives_the_same():
    sampler = TrainingBatches(Stream(5), 2, [0] * 5)
    first, second = (list(itertools.islice(sampler, 4)) for _ in range(2))
    assert first == second


def test_seeds_differ_with_every_part_of_the_key():
    keys = itertools.product(range(5), range(5), range(5), (1, 2))
    seeds = {derive_seed(*key) for key in keys}
    assert len(seeds) == 5 * 5 * 5 * 2
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_a_seed_is_a_function_of_its_key(seed):
    assert derive_seed(seed, 1, 2, 1) == derive_seed(seed, 1, 2, 1)


@pytest.fixture
def pets(make_cfg, coco_folder):
    """Return a config of two images, whose samples are one a batch."""
    cfg = make_cfg(FORMAT="coco", ROOT=coco_folder(), TRAIN="train.json", TRAIN_IMAGES="images")
    register_custom_datasets(cfg)
    cfg.SEED, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 1, 1, 0
    cfg.INPUT.MIN_SIZE_TRAIN = (60,)
    return cfg


def object_counts(cfg, count):
    loader = build_train_loader(cfg, mapper=build_train_mapper(cfg))
    return [len(x["instances"]) for [x] in itertools.islice(loader, count)]


def kill_if_told(record):
    if record.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    return len(record)


def load_all(*records):
    mapper = NotingMapper(kill_if_told, 1)
    with naming_lost_file():
        return list(DataLoader(MapDataset(records, mapper), num_workers=1, collate_fn=list)), mapper


@pytest.mark.parametrize(
    ("record", "name"),
    [({"file_name": "é 1.jpg"}, "é 1.jpg"), ({"pixels": 1}, "an image")],
)
def test_what_a_process_worked_on_when_it_died_is_named(record, name):
    with pytest.raises(ChildProcessError, match=f"that was loading {name} has died: DataLoader"):
        load_all({"file_name": "a longer name before it.jpg"}, {**record, "kill": True})


def test_processes_that_have_ended_are_not_called_dead():
    _, mapper = load_all({"file_name": "a.jpg"})
    assert mapper.lost_files() == []
    with pytest.raises(RuntimeError, match="out of memory"), naming_lost_file():
        raise RuntimeError("out of memory")


def test_another_error_than_the_loaders_is_not_the_death_of_a_process():
    mapper = NotingMapper(kill_if_told, 1)
    mapper._notes[0, :4] = torch.tensor(list(b"1 a\0"), dtype=torch.uint8)
    assert mapper.lost_files() == ["a"]
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory"), naming_lost_file():
        raise RuntimeError("CUDA out of memory")


def test_mixing_ends_where_the_config_says(pets):
    pets.INPUT.MIXUP_PROB, pets.INPUT.MIX_UNTIL, pets.SOLVER.MAX_ITER = 1.0, 0.5, 12
    counts = object_counts(pets, 12)
    # The images have two objects and one.
    assert max(counts[:6]) > 2
    assert max(counts[6:]) <= 2


def test_batches_of_loading_processes_are_those_of_the_training_process(pets):
    pets.INPUT.MOSAIC_PROB, pets.INPUT.MIXUP_PROB = 0.5, 0.5
    pets.DATALOADER.FAST_MAPPER = True
    batches = []
    for number in (0, 2):
        pets.DATALOADER.NUM_WORKERS = number
        loader = build_train_loader(pets, mapper=build_train_mapper(pets))
        batches.append([x for [x] in itertools.islice(loader, 6)])
    for one, other in zip(*batches, strict=True):
        assert one["image"].equal(other["image"])
        assert one["instances"].gt_boxes.tensor.equal(other["instances"].gt_boxes.tensor)

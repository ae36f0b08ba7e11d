"""Mosaic and mixup: boxes around what was painted."""

import random

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from autoassign.data.mixing import MixedDataset, mixup, mosaic


def painted(channel, box, size=(90, 120)):
    """Black, with a box of 255 in one channel, which is its class."""
    image = torch.zeros((4, *size), dtype=torch.uint8)
    x0, y0, x1, y1 = box
    image[channel, y0:y1, x0:x1] = 255
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor([box], dtype=torch.float32))
    instances.gt_classes = torch.tensor([channel])
    return {"image": image, "instances": instances, "file_name": f"{channel}.jpg"}


def extent(plane, threshold):
    rows, columns = np.nonzero(plane.numpy() > threshold)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def boxes_by_class(sample):
    instances = sample["instances"]
    return dict(zip(instances.gt_classes.tolist(), instances.gt_boxes.tensor.tolist(), strict=True))


@st.composite
def boxes_within(draw, height, width):
    x0, y0 = draw(st.integers(0, width - 9)), draw(st.integers(0, height - 9))
    x1, y1 = draw(st.integers(x0 + 8, width)), draw(st.integers(y0 + 8, height))
    return (x0, y0, x1, y1)


@given(
    boxes=st.tuples(*(boxes_within(h, w) for h, w in [(90, 120), (60, 80), (100, 70), (90, 120)])),
    center=st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)),
    scales=st.lists(st.floats(0.5, 1), min_size=4, max_size=4),
)
def test_boxes_of_a_mosaic_fit(boxes, center, scales):
    sizes = [(90, 120), (60, 80), (100, 70), (90, 120)]
    samples = [
        painted(i, box, size) for i, (box, size) in enumerate(zip(boxes, sizes, strict=True))
    ]
    result = mosaic(samples, center, scales)
    assert result["image"].shape == (4, 90, 120)
    assert result["file_name"] == "0.jpg"
    found = boxes_by_class(result)
    for channel, (x0, y0, x1, y1) in enumerate(boxes):
        seen = extent(result["image"][channel], 185)  # between gray and white
        area = (x1 - x0) * (y1 - y0) * scales[channel] ** 2
        if channel in found:
            if seen is None:  # thinner than the blur of the resizing
                left, top, right, bottom = found[channel]
                assert min(right - left, bottom - top) < 2
            else:
                assert found[channel] == pytest.approx(seen, abs=1.5)
        elif seen is not None:
            visible = (seen[2] - seen[0]) * (seen[3] - seen[1])
            assert visible < 0.1 * area + 2 * (seen[2] - seen[0] + seen[3] - seen[1])


def test_a_mosaic_by_hand():
    samples = [painted(i, (0, 0, 120, 90)) for i in range(4)]
    result = mosaic(samples, (0.5, 0.4), [1.0, 1.0, 0.5, 1.0])
    # Upper left, upper right, lower left at half its size, lower right.
    assert boxes_by_class(result) == {
        0: [0, 0, 60, 36],
        1: [60, 0, 120, 36],
        2: [0, 36, 60, 81],
        3: [60, 36, 120, 90],
    }
    assert result["image"][:, 85, 30].tolist() == [114] * 4  # below the half-sized one
    assert result["image"][:, 0, 0].tolist() == [255, 0, 0, 0]
    assert result["image"][:, 89, 119].tolist() == [0, 0, 0, 255]


def test_objects_that_are_hardly_seen_are_left_out_of_a_mosaic():
    # The right half of the lower half of the first image is seen: columns from 60 on.
    for x0, is_left in ((14, False), (16, True)):  # 4 and 6 of 50 columns
        sample = painted(0, (x0, 45, x0 + 50, 90))
        others = [painted(i, (0, 0, 8, 8)) for i in (1, 2, 3)]
        result = mosaic([sample, *others], (0.5, 0.5), [1.0] * 4)
        assert (0 in boxes_by_class(result)) is is_left


def test_mixup_is_the_mean_where_both_images_are():
    one, other = painted(0, (10, 20, 50, 60)), painted(1, (30, 5, 70, 100), size=(110, 80))
    result = mixup(one, other)
    assert result["image"].shape == (4, 110, 120)
    assert boxes_by_class(result) == {0: [10, 20, 50, 60], 1: [30, 5, 70, 100]}
    assert result["image"][0, 30, 20] == 128  # 127.5
    assert result["image"][1, 95, 40] == 255  # below the first image
    assert result["image"][:, 105, 100].tolist() == [114] * 4
    assert extent(result["image"][0] * (result["image"][0] != 114), 100) == (10, 20, 50, 60)


class Painted(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return painted(index, (10, 10, 100, 80))


@pytest.mark.parametrize(
    ("probabilities", "most_objects"), [((0.0, 0.0), 1), ((1.0, 0.0), 4), ((1.0, 1.0), 8)]
)
def test_probabilities_choose_what_is_mixed(probabilities, most_objects):
    mosaic_prob, mixup_prob = probabilities
    dataset = MixedDataset(Painted(), mosaic_prob=mosaic_prob, mixup_prob=mixup_prob)
    random.seed(0)
    counts = [len(dataset[i % 4]["instances"]) for i in range(30)]
    assert max(counts) == most_objects


def test_the_same_seed_mixes_the_same():
    dataset = MixedDataset(Painted(), mosaic_prob=0.5, mixup_prob=0.5)
    results = []
    for _ in range(2):
        random.seed(5)
        results.append(torch.cat([dataset[i]["image"].flatten() for i in range(4)]))
    assert torch.equal(*results)

import pickle

import pytest
import torch
from detectron2.structures import Boxes, Instances

from autoassign.data.packing import PackedBatch


def test_a_batch_is_the_same_after_its_way():
    instances = Instances((3, 5))
    instances.gt_boxes = Boxes(torch.rand(2, 4))
    instances.gt_classes = torch.tensor([4, 0])
    empty = Instances((3, 5), gt_boxes=Boxes(torch.zeros(0, 4)))
    image = torch.arange(45, dtype=torch.uint8).reshape(3, 3, 5)
    batch = [
        {"file_name": "a.jpg", "image": image, "instances": instances},
        # Seen through a transposition, and of a size that leaves the next one unaligned.
        {"file_name": "b.jpg", "image": image.permute(2, 1, 0), "instances": empty, "scale": 0.5},
    ]

    packed = PackedBatch(batch)
    first, second = packed.unpack()

    assert first["file_name"] == "a.jpg"
    assert first["image"].equal(image)
    assert first["instances"].image_size == (3, 5)
    assert first["instances"].gt_boxes.tensor.equal(instances.gt_boxes.tensor)
    assert first["instances"].gt_classes.equal(instances.gt_classes)
    assert second["image"].equal(image.permute(2, 1, 0))
    assert second["instances"].gt_boxes.tensor.shape == (0, 4)
    assert second["scale"] == 0.5
    first["image"] += 1  # the memory may be written to
    # The pixels are not in what is pickled.
    assert len(pickle.dumps(packed._pickled)) < 1500


def test_tensors_that_share_memory_stay_right():
    whole = torch.arange(12.0).reshape(3, 4)
    [result] = PackedBatch([{"whole": whole, "row": whole[1], "column": whole[:, 2]}]).unpack()
    assert result["row"].tolist() == [4, 5, 6, 7]
    assert result["column"].tolist() == [2, 6, 10]


@pytest.mark.cuda
def test_images_are_pinned_for_a_gpu():
    image = torch.arange(45, dtype=torch.uint8).reshape(3, 3, 5)
    [item] = PackedBatch([{"file_name": "a.jpg", "image": image}]).pin_memory()
    assert item["file_name"] == "a.jpg"
    assert item["image"].equal(image)
    assert item["image"].is_pinned()

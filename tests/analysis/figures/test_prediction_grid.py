"""The picture of predictions beside ground truth."""

import cv2
import numpy as np
import pytest
from detectron2.data import Metadata
from detectron2.structures import BoxMode

from autoassign.analysis.figures import draw_prediction_grid


@pytest.fixture
def records(tmp_path):
    """Three black images, one object of 30 pixels each."""
    made = []
    for image_id in (7, 8, 9):
        file_name = str(tmp_path / f"{image_id}.png")
        cv2.imwrite(file_name, np.zeros((80, 100, 3), np.uint8))
        box = {"bbox": [40, 20, 70, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
        made.append(
            {
                "file_name": file_name,
                "image_id": image_id,
                "height": 80,
                "width": 100,
                "annotations": [box],
            }
        )
    return made


@pytest.fixture
def metadata():
    return Metadata(
        name="grid", thing_classes=["a", "b"], thing_dataset_id_to_contiguous_id={3: 0, 5: 1}
    )


def result(image_id, category_id=5, score=0.9):
    return {
        "image_id": image_id, "category_id": category_id, "bbox": [40, 20, 30, 30], "score": score
    }  # fmt: skip


def colored_halves(path):
    """How many pixels are neither black, white nor grey in the left and in the right half."""
    image = cv2.imread(str(path)).astype(int)
    colored = np.ptp(image, axis=2) > 60
    middle = image.shape[1] // 2
    return colored[:, :middle].sum(), colored[:, middle:].sum()


def test_same_box_is_drawn_the_same_on_both_sides(tmp_path, records, metadata):
    path = tmp_path / "grid.png"
    draw_prediction_grid(records[:1], [result(7)], metadata, path)
    truth, prediction = colored_halves(path)
    # The prediction's label is longer, by its score.
    assert truth < prediction < 1.5 * truth


def test_weak_predictions_and_those_of_other_images_are_not_drawn(tmp_path, records, metadata):
    path = tmp_path / "grid.png"
    results = [result(7, score=0.39), result(8, score=0.99)]
    draw_prediction_grid(records[:1], results, metadata, path, score_thresh=0.4)
    truth, prediction = colored_halves(path)
    assert truth > 0
    assert prediction == 0


def test_color_follows_the_class_through_the_dataset_ids(tmp_path, records, metadata):
    def mean_color(category_id):
        path = tmp_path / "grid.png"
        draw_prediction_grid(records[:1], [result(7, category_id)], metadata, path)
        image = cv2.imread(str(path)).astype(int)
        right = image[:, image.shape[1] // 2 :]
        left = image[:, : image.shape[1] // 2]
        return [half[np.ptp(half, axis=2) > 60].mean(0) for half in (left, right)]

    truth, same = mean_color(5)
    _, other = mean_color(3)
    assert np.abs(truth - same).max() < 5
    assert np.abs(truth - other).max() > 50


def test_number_of_images_sets_the_height(tmp_path, records, metadata):
    heights = []
    for num_images in (1, 2, 3):
        draw_prediction_grid(records, [], metadata, tmp_path / "g.png", num_images=num_images)
        heights.append(cv2.imread(str(tmp_path / "g.png")).shape[0])
    assert abs(heights[0] - heights[1]) < 40  # side by side
    assert heights[2] > 1.7 * heights[1]


def test_nothing_to_draw_is_an_error(tmp_path, metadata):
    with pytest.raises(ValueError, match="no images"):
        draw_prediction_grid([], [], metadata, tmp_path / "grid.png")

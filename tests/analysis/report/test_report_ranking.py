"""Matches and F1 against numbers worked out by hand."""

import numpy as np
import pytest
from detectron2.structures import BoxMode

from autoassign.analysis.report.image_ranking import best_threshold, rank_images

IDS = {7: 0, 9: 1}


def record(image_id, *objects):
    """Objects are (class, x, y, width, height) or, for a crowd, with a 1 behind."""
    annotations = [
        {
            "category_id": category,
            "bbox": [x, y, width, height],
            "bbox_mode": BoxMode.XYWH_ABS,
            "iscrowd": crowd[0] if crowd else 0,
        }
        for category, x, y, width, height, *crowd in objects
    ]
    return {"image_id": image_id, "file_name": f"{image_id}.jpg", "annotations": annotations}


def result(image_id, category_id, box, score):
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def test_f1_of_each_image_and_the_threshold_that_is_best_for_all():
    records = [
        record(1, (0, 0, 0, 10, 10), (0, 50, 50, 10, 10)),
        record(2, (1, 0, 0, 10, 10)),
    ]
    results = [
        result(1, 7, [0, 0, 10, 9], 0.9),
        result(2, 9, [0, 0, 10, 10], 0.8),
        result(1, 7, [80, 80, 10, 10], 0.6),
    ]
    # Over both images F1 is 2/4 from 0.9 on, 4/5 from 0.8 on, 4/6 from 0.6 on.
    ranking = rank_images(records, results, IDS)
    assert ranking.threshold == 0.8
    assert [image.record["image_id"] for image in ranking.images] == [1, 2]
    assert [image.counts for image in ranking.images] == [(1, 1, 0), (1, 0, 0)]
    assert [image.f1 for image in ranking.images] == [pytest.approx(2 / 3), 1]
    assert [x.kind for x in ranking.images[0].objects] == ["found", "missed"]


@pytest.mark.parametrize(
    ("category_id", "box"),
    [(9, [0, 0, 10, 10]), (7, [0, 0, 10, 4])],  # another class; IoU 0.4
)
def test_another_class_and_a_box_too_far_off_find_nothing(category_id, box):
    (image,) = rank_images(
        [record(1, (0, 0, 0, 10, 10))], [result(1, category_id, box, 0.9)], IDS
    ).images
    assert image.counts == (0, 1, 1)
    assert image.f1 == 0


def test_a_crowd_need_not_be_found_and_detections_in_it_do_not_count():
    records = [record(1, (0, 0, 0, 10, 10), (0, 40, 40, 50, 50, 1))]
    results = [result(1, 7, [0, 0, 10, 10], 0.5), result(1, 7, [50, 50, 10, 10], 0.9)]
    (image,) = rank_images(records, results, IDS).images
    assert image.counts == (1, 0, 0)
    assert [x.counted for x in image.objects] == [True, False]
    assert [(x.score, x.counted) for x in image.detections] == [(0.9, False), (0.5, True)]


def test_of_equal_f1_more_errors_are_worse_and_more_objects_found_better():
    good, bad = (0, 0, 0, 10, 10), (0, 50, 50, 10, 10)
    records = [record(1, bad), record(2, good), record(3, bad, bad), record(4, good, (1, *bad[1:]))]
    results = [
        result(2, 7, [0, 0, 10, 10], 0.9),
        result(4, 7, [0, 0, 10, 10], 0.9),
        result(4, 9, [50, 50, 10, 10], 0.9),
    ]
    ranked = [x.record["image_id"] for x in rank_images(records, results, IDS).images]
    assert ranked == [3, 1, 2, 4]


def test_images_with_nothing_to_count_are_not_ranked():
    ranking = rank_images([record(1), record(2, (0, 0, 0, 5, 5))], [], IDS)
    assert [image.record["image_id"] for image in ranking.images] == [2]
    assert ranking.num_unranked == 1


def test_detections_below_the_threshold_change_no_match_above_it():
    generator = np.random.default_rng(0)

    def boxes(count):
        return np.column_stack([generator.uniform(0, 30, (count, 2)), np.full((count, 2), 20)])

    records = [record(i, *((0, *box) for box in boxes(6).tolist())) for i in range(5)]
    results = [
        result(i, 7, box, float(generator.random())) for i in range(5) for box in boxes(12).tolist()
    ]
    ranking = rank_images(records, results, IDS)
    assert min(x["score"] for x in results) < ranking.threshold
    above = [x for x in results if x["score"] >= ranking.threshold]
    alone = rank_images(records, above, IDS)
    assert alone.threshold == ranking.threshold
    assert [x.counts for x in alone.images] == [x.counts for x in ranking.images]


def test_equal_scores_are_on_the_same_side_of_the_threshold():
    scores = np.array([0.9, 0.5, 0.5])
    # F1 would be 4/5 behind the second one; behind all it is 4/6, and behind the first one 2/4.
    assert best_threshold(scores, np.array([True, True, False]), 3) == 0.5
    assert best_threshold(scores, np.array([True, False, False]), 1) == 0.9


@pytest.mark.parametrize(
    ("image_id", "category_id", "message"), [(5, 7, "no image 5"), (1, 8, "no category 8")]
)
def test_detections_of_other_data_are_an_error(image_id, category_id, message):
    with pytest.raises(ValueError, match=message):
        rank_images([record(1)], [result(image_id, category_id, [0, 0, 1, 1], 0.5)], IDS)

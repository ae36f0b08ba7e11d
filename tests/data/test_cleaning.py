import copy

import pytest
from detectron2.structures import BoxMode

from autoassign.data import clean_boxes

INF, NAN = float("inf"), float("nan")


def record(*boxes: list, mode: BoxMode = BoxMode.XYXY_ABS) -> dict:
    annotations = [{"bbox": box, "bbox_mode": mode, "category_id": 0} for box in boxes]
    return {"file_name": "a.png", "height": 30, "width": 40, "annotations": annotations}


def cleaned_boxes(*boxes: list, mode: BoxMode = BoxMode.XYXY_ABS) -> list[list]:
    records, _ = clean_boxes([record(*boxes, mode=mode)])
    return [annotation["bbox"] for annotation in records[0]["annotations"]]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5, 5, NAN, 9], "non-finite"),
        ([-INF, 5, 8, 9], "non-finite"),
        ([9, 5, 8, 9], "inverted"),
        ([5, 9, 8, 5], "inverted"),
        ([5, 5, 5, 9], "zero area"),
        ([5, 5, 9, 5], "zero area"),
        ([40, 5, 50, 9], "outside the image"),
        ([5, -9, 9, 0], "outside the image"),
    ],
)
def test_an_unusable_box_is_dropped_for_its_reason(box, reason):
    records, report = clean_boxes([record(box, [1, 2, 3, 4])])

    assert [a["bbox"] for a in records[0]["annotations"]] == [[1, 2, 3, 4]]
    assert report.num_dropped == {reason: 1}
    assert report.num_boxes == 1


def test_a_box_that_sticks_out_is_clipped_to_the_image():
    records, report = clean_boxes([record([-3, 5, 8, 9], [30, 20, 41, 37])])

    assert [a["bbox"] for a in records[0]["annotations"]] == [[0, 5, 8, 9], [30, 20, 40, 30]]
    assert report.num_clipped == 2
    assert not report.num_dropped


def test_xywh_boxes_are_judged_and_clipped_as_xywh():
    mode = BoxMode.XYWH_ABS

    # The width of 12 and the zero height would be a valid and an inverted box as xyxy.
    assert cleaned_boxes([30, 5, 12, 6], [3, 4, 9, 0], [20, 10, 5, 6], mode=mode) == [
        [30, 5, 40, 11],
        [20, 10, 5, 6],
    ]


def test_a_box_over_the_edge_by_the_rounding_of_two_decimals_is_left_alone():
    assert cleaned_boxes([30, 5, 40.01, 9]) == [[30, 5, 40.01, 9]]
    assert cleaned_boxes([30, 5, 40.02, 9]) == [[30, 5, 40, 9]]


def test_images_without_boxes_stay_and_other_fields_are_kept():
    crowd = record([1, 2, 3, 4])
    crowd["annotations"][0]["iscrowd"] = 1

    records, report = clean_boxes([record(), record([1, 1, 1, 1]), crowd])

    assert [r["annotations"] for r in records] == [[], [], crowd["annotations"]]
    assert report.num_images == 3


def test_the_input_is_not_modified():
    records = [record([-3, 5, 8, 9], [1, 1, 1, 1])]
    before = copy.deepcopy(records)

    clean_boxes(records)

    assert records == before


def test_the_report_counts_in_one_line():
    boxes = [[1, 2, 3, 4]] * 1500 + [[-1, 2, 3, 4], [1, 2, 1, 4], [50, 2, 60, 4], [1, 50, 3, 60]]

    _, report = clean_boxes([record(*boxes), record()])

    assert str(report) == (
        "2 images, 1 501 boxes; dropped 3 (1 zero area, 2 outside the image), clipped 1"
    )
    assert str(clean_boxes([record([1, 2, 3, 4])])[1]) == "1 images, 1 boxes"

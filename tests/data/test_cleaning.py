import numpy as np
import pytest

from autoassign.data import BoxTable, TableBuilder, clean_boxes

INF, NAN = float("inf"), float("nan")


def table_of(*images: list[list], **fields: object) -> BoxTable:
    """A table of images of 40 x 30 pixels with the given xyxy boxes."""
    builder = TableBuilder()
    for image_id, boxes in enumerate(images):
        index = builder.add_image("a.png", image_id, 30, 40)
        for box in boxes:
            builder.add_object(index, 0, box, **fields)
    return builder.build()


def cleaned_boxes(*boxes: list) -> list[list]:
    return clean_boxes(table_of(boxes))[0].boxes.tolist()


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
    cleaned, report = clean_boxes(table_of([box, [1, 2, 3, 4]]))

    assert cleaned.boxes.tolist() == [[1, 2, 3, 4]]
    assert report.num_dropped == {reason: 1}
    assert report.num_boxes == 1


def test_a_box_that_sticks_out_is_clipped_to_the_image():
    cleaned, report = clean_boxes(table_of([[-3, 5, 8, 9], [30, 20, 41, 37]]))

    assert cleaned.boxes.tolist() == [[0, 5, 8, 9], [30, 20, 40, 30]]
    assert report.num_clipped == 2
    assert not report.num_dropped


def test_each_box_is_clipped_to_its_own_image():
    builder = TableBuilder()
    for width in (40, 60):
        builder.add_object(builder.add_image("a.png", width, 30, width), 0, (30, 5, 99, 9))

    assert clean_boxes(builder.build())[0].boxes.tolist() == [[30, 5, 40, 9], [30, 5, 60, 9]]


def test_a_box_over_the_edge_by_the_rounding_of_two_decimals_is_left_alone():
    assert cleaned_boxes([30, 5, 40.01, 9]) == [[30, 5, 40.01, 9]]
    assert cleaned_boxes([30, 5, 40.02, 9]) == [[30, 5, 40, 9]]


def test_the_area_of_a_clipped_object_is_at_most_that_of_its_box():
    boxes = [[35, 5, 45, 15], [35, 5, 45, 15], [1, 1, 5, 5]]
    areas = [80, 20, 99]
    builder = TableBuilder()
    index = builder.add_image("a.png", 0, 30, 40)
    for box, area in zip(boxes, areas, strict=True):
        builder.add_object(index, 0, box, area=area)
    builder.add_object(index, 0, boxes[0])

    cleaned, _ = clean_boxes(builder.build())

    np.testing.assert_equal(cleaned.areas, [50, 20, 99, NAN])


def test_images_without_boxes_stay_and_crowds_are_kept():
    cleaned, report = clean_boxes(table_of([], [[1, 1, 1, 1]], [[1, 2, 3, 4]], is_crowd=True))

    assert [len(record["annotations"]) for record in cleaned.records()] == [0, 0, 1]
    assert cleaned.is_crowd.tolist() == [True]
    assert report.num_images == 3


def test_the_input_is_not_modified():
    table = table_of([[-3, 5, 8, 9], [1, 1, 1, 1]])

    clean_boxes(table)

    assert table.boxes.tolist() == [[-3, 5, 8, 9], [1, 1, 1, 1]]


def test_the_report_counts_in_one_line():
    boxes = [[1, 2, 3, 4]] * 1500 + [[-1, 2, 3, 4], [1, 2, 1, 4], [50, 2, 60, 4], [1, 50, 3, 60]]

    _, report = clean_boxes(table_of(boxes, []))

    assert str(report) == (
        "2 images, 1 501 boxes; dropped 3 (1 zero area, 2 outside the image), clipped 1"
    )
    assert str(clean_boxes(table_of([[1, 2, 3, 4]]))[1]) == "1 images, 1 boxes"

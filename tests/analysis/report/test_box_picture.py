"""Labels of boxes: measured by hand, and in a real browser."""

import re

import pytest
from headless_browser import find_chromium, use_page

from autoassign.analysis.report.box_picture import LabelledBox, box_picture

LONG = "traffic light for pedestrians with a countdown"


def labels(boxes, width=280, height=280):
    picture = box_picture("detections", "<image/>", boxes, width, height)
    return re.findall("<text[^>]*>([^<]*)</text>", picture)


def test_a_short_name_is_shown_as_it_is():
    assert labels([LabelledBox((10, 50, 60, 60), "cat", "0.91", "found")]) == ["cat 0.91"]
    assert labels([LabelledBox((10, 50, 60, 60), "cat", "", "found")]) == ["cat"]


@pytest.mark.parametrize("x", [10, 200])
def test_a_long_name_is_shortened_and_its_score_kept(x):
    (label,) = labels([LabelledBox((x, 50, 60, 60), LONG, "0.91", "found")])
    assert re.fullmatch(r"traffic.*\u2026 0\.91", label)
    assert len(label) < len(LONG)


def test_the_whole_text_is_read_at_the_box():
    picture = box_picture("x", "", [LabelledBox((0, 50, 60, 60), LONG, "0.9", "found")], 280, 280)
    assert f"<title>{LONG} 0.9</title></rect>" in picture


def test_a_label_without_room_is_left_out_and_the_first_ones_are_kept():
    # Letters of 10 pixels make lines of 12.5: two lines outside the box and two inside.
    box = (100, 100, 40, 30)
    boxes = [LabelledBox(box, "cat", f"0.{9 - i}0", "wrong") for i in range(6)]
    assert labels(boxes) == ["cat 0.90", "cat 0.80", "cat 0.70", "cat 0.60"]


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")
def test_no_label_covers_another_one_or_leaves_the_picture(tmp_path):
    names = ("cat", LONG, "MMMMMMMMMMMMMMMM", "WWWWWW mmmmmmmm wwwwwwww", "\u4ea4\u901a\u706f" * 6)
    boxes = [
        LabelledBox((x, y, 150, 90), names[(row + column) % 5], f"0.{row}{column}", "found")
        for row, y in enumerate((5, 60, 150, 350))
        for column, x in enumerate((5, 120, 260, 345))
    ]
    picture = box_picture("detections", "", boxes, 500, 450)
    script = """
    return [...document.querySelectorAll("text")].map((text) => {
      const {x, y, width, height} = text.getBBox();
      return [x, y, x + width, y + height];
    });
    """
    style = "<style>text { font-weight: 600; font-family: system-ui, sans-serif; }</style>"
    page = f'<meta charset="utf-8">{style}<body>{picture}</body>'
    places, _ = use_page(page, script, tmp_path)
    assert len(places) > 10
    for index, (left, top, right, bottom) in enumerate(places):
        assert left >= 0
        assert top >= 0
        assert right <= 500
        assert bottom <= 450
        for other in places[:index]:
            apart = left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
            assert apart

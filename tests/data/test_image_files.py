import cv2
import numpy as np
import pytest
from folder_parts import write_image
from PIL import Image

from autoassign.data import BoxTable, TableBuilder
from autoassign.data.image_files import check_images, image_size


def table_of(folder, **sizes: tuple[int, int]) -> BoxTable:
    """A table of images name.png with annotated sizes (width, height)."""
    builder = TableBuilder()
    for number, (name, (width, height)) in enumerate(sizes.items()):
        index = builder.add_image(str(folder / f"{name}.png"), number, height, width)
        builder.add_object(index, 0, (1, 1, 5, 5))
    return builder.build()


def test_sizes_are_taken_from_the_headers(tmp_path):
    write_image(tmp_path / "a.png", 40, 30)
    write_image(tmp_path / "b.png", 20, 50)

    table = check_images(table_of(tmp_path, a=(0, 0), b=(20, 50)), "set", skip_unreadable=False)

    assert table.sizes.tolist() == [[30, 40], [50, 20]]


def test_an_image_turned_by_its_exif_data_has_the_turned_size(tmp_path):
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "straight.jpg")

    assert image_size(str(tmp_path / "turned.jpg")) == (40, 30)
    assert image_size(str(tmp_path / "straight.jpg")) == (30, 40)


@pytest.mark.parametrize("skip_unreadable", [False, True])
def test_exchanged_sizes_are_those_of_the_file(tmp_path, caplog, skip_unreadable):
    write_image(tmp_path / "a.png", 40, 30)
    write_image(tmp_path / "b.png", 40, 30)

    table = check_images(
        table_of(tmp_path, a=(30, 40), b=(40, 30)), "set", skip_unreadable=skip_unreadable
    )

    assert table.sizes.tolist() == [[30, 40], [30, 40]]
    assert "set: height and width are exchanged in the annotations of 1 of 2 images" in caplog.text


def test_sizes_that_contradict_the_files_are_an_error_that_counts_them(tmp_path):
    sizes = dict.fromkeys("abcde", (40, 31))
    for name in sizes:
        write_image(tmp_path / f"{name}.png", 40, 30)
    write_image(tmp_path / "good.png", 40, 30)

    with pytest.raises(
        ValueError, match=r"set: 5 of 6 images cannot be used: .*a\.png is 40 × 30, annotated as"
    ) as error:
        check_images(table_of(tmp_path, **sizes, good=(40, 30)), "set", skip_unreadable=False)
    assert "SKIP_UNREADABLE True leaves them out" in str(error.value)


@pytest.mark.parametrize("skip_unreadable", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_16_bits_are_found_before_training(tmp_path, skip_unreadable, channels):
    pixels = np.full((30, 40, channels), 5000, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels)
    write_image(tmp_path / "a.png")
    table = table_of(tmp_path, a=(40, 30), deep=(40, 30))

    if skip_unreadable:
        kept = check_images(table, "set", skip_unreadable=True)
        assert [kept.path(index) for index in range(len(kept))] == [str(tmp_path / "a.png")]
        assert len(kept.boxes) == 1
    else:
        with pytest.raises(ValueError, match=r"deep\.png cannot be read: .*more than 8 bits"):
            check_images(table, "set", skip_unreadable=False)


def test_a_header_that_is_no_image_is_found_before_training(tmp_path):
    (tmp_path / "a.png").write_text("<html>")

    with pytest.raises(ValueError, match=r"set: 1 of 1 images cannot be used: .*a\.png cannot be"):
        check_images(table_of(tmp_path, a=(40, 30)), "set", skip_unreadable=False)


def test_objects_stay_with_their_images_when_others_are_left_out(tmp_path):
    builder = TableBuilder()
    for number in range(5):
        index = builder.add_image(str(tmp_path / f"{number}.png"), number, 30, 40)
        for _ in range(number):
            builder.add_object(index, number, (number, 1, 9, 9))
        if number % 2:
            write_image(tmp_path / f"{number}.png")

    records = check_images(builder.build(), "set", skip_unreadable=True).records()

    assert [record["image_id"] for record in records] == [1, 3]
    assert [[a["category_id"] for a in r["annotations"]] for r in records] == [[1], [3, 3, 3]]

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from autoassign.inference.sources import ImageFile, UnreadableError, Video, find_sources


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Empty files in a folder that the test runs in."""
    for name in ("a/1.jpg", "a/b/1.JPG", "a/b/2.png", "c/1.jpg", "c/notes.txt", "c/clip.webm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str) -> list[str]:
    return [source.name for source in find_sources(inputs)]


def test_a_folder_means_the_images_below_it(folder):
    assert names("a") == ["1.jpg", "b/1.JPG", "b/2.png"]
    assert names("c") == ["1.jpg"]


def test_names_of_a_pattern_are_relative_to_what_precedes_its_wildcard(folder):
    assert names("a/*.jpg") == ["1.jpg"]
    assert names("**/1.*") == ["a/1.jpg", "a/b/1.JPG", "c/1.jpg"]


def test_names_do_not_leave_the_folder(folder):
    (folder / "1.jpg").touch()
    assert names("a/*/../../1.jpg") == ["b/1.jpg"]


@pytest.mark.parametrize(("name", "side"), [("long.webp", 16384), ("long.jpg", 65501)])
def test_an_image_that_its_format_cannot_hold_is_unreadable(tmp_path, name, side):
    path = tmp_path / name
    path.write_bytes(cv2.imencode(".png", np.zeros((2, side, 3), np.uint8))[1])
    (source,) = find_sources([str(path)])
    with pytest.raises(UnreadableError, match=f"too large: {side} × 2;.*sides of {side - 1}"):
        source.read()


def test_two_files_do_not_get_one_name(folder):
    assert names("a/1.jpg", "a/b/1.JPG", "c/1.jpg") == ["1.jpg", "1_2.JPG", "1_3.jpg"]


def test_a_file_that_is_meant_twice_is_taken_once(folder):
    assert names("a/1.jpg", "a", str(folder / "a/1.jpg")) == ["1.jpg", "b/1.JPG", "b/2.png"]


def test_a_file_that_is_meant_through_links_is_taken_once(folder):
    (folder / "a/loop").symlink_to(folder / "a")
    (folder / "a/again.jpg").symlink_to("1.jpg")
    assert names("a/**/1.jpg") == ["1.jpg"]
    assert names("a") == ["1.jpg", "b/1.JPG", "b/2.png"]


@pytest.mark.parametrize("target", ["gone.jpg", "link.jpg"])
def test_a_link_to_nothing_in_a_folder_is_unreadable(folder, target):
    (folder / "c/link.jpg").symlink_to(target)
    _, source = find_sources(["c"])
    assert source.name == "link.jpg"
    with pytest.raises(UnreadableError, match="cannot be read"):
        source.read()


def test_a_file_with_the_characters_of_a_pattern_is_a_file(folder):
    (folder / "x[1].jpg").touch()
    assert names("x[1].jpg") == ["x[1].jpg"]


def test_files_of_other_formats_get_a_suffix_that_can_be_written(folder):
    image, video = find_sources(["c/notes.txt", "c/clip.webm"])
    assert (type(image), image.name) == (ImageFile, "notes.txt.png")
    assert (type(video), video.name) == (Video, "clip.webm.mp4")


def test_a_camera(folder):
    [camera] = find_sources(["camera:0"])
    assert camera.is_camera
    assert camera.name == "camera_0.mp4"


@pytest.mark.parametrize("text", ["gone.jpg", "gone/", "*.gone", "empty"])
def test_an_input_that_means_nothing_is_named(folder, text):
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=text.replace("*", r"\*")):
        find_sources(["a", text])


def test_a_camera_without_a_number_is_an_error():
    with pytest.raises(ValueError, match="camera:front"):
        find_sources(["camera:front"])


def test_a_camera_with_too_large_a_number_is_unreadable():
    [camera] = find_sources(["camera:99999999999999999"])
    with pytest.raises(UnreadableError, match="OpenCV cannot open it"):
        camera.open()


def test_an_image_is_read_in_bgr_and_turned_as_its_exif_data_says(tmp_path):
    image = Image.new("RGB", (20, 10), (200, 100, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "turned.png", exif=exif)
    [source] = find_sources([str(tmp_path / "turned.png")])
    pixels = source.read()
    assert pixels.shape == (20, 10, 3)
    assert pixels[0, 0].tolist() == [0, 100, 200]


@pytest.mark.parametrize("content", ["text", "16-bit gray", "16-bit RGB", "half"])
def test_a_file_that_is_no_8_bit_image_is_unreadable(tmp_path, content):
    path = tmp_path / "x.png"
    noise = np.random.default_rng(0).integers(0, 65535, (40, 40), dtype=np.uint16)
    if content == "text":
        path.write_text("no image")
    elif content == "16-bit gray":
        cv2.imwrite(str(path), noise)
    elif content == "16-bit RGB":
        cv2.imwrite(str(path), np.stack([noise] * 3, axis=2))
    else:
        cv2.imwrite(str(path), noise.astype(np.uint8))
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UnreadableError, match="cannot be read"):
        ImageFile(str(path), "x.png").read()


def test_the_first_frame_of_an_animation_is_read_and_written_as_png(tmp_path):
    first, second = (Image.new("RGB", (20, 10), color) for color in ((0, 0, 255), (255, 0, 0)))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    [source] = find_sources([str(tmp_path)])
    assert source.name == "a.gif.png"
    assert source.read()[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("size", "limit"),
    [((8001, 8000), "64000000"), ((10_000, 10_000), "64000000"), ((70_000, 1), "65535")],
)
def test_an_image_that_is_too_large_is_refused_with_the_limit(tmp_path, size, limit):
    Image.new("1", size).save(tmp_path / "large.png")
    with pytest.raises(UnreadableError, match=rf"too large.*{limit}"):
        ImageFile(str(tmp_path / "large.png"), "large.png").read()

import os

import numpy as np
import pytest

from autoassign.data.image_cache import ImageCache

ARRAY = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"pixels")
    return path


def make_cache(tmp_path, max_bytes=1e6, **options):
    return ImageCache(tmp_path / "cache", max_bytes=max_bytes, **options)


def test_an_array_is_kept_for_other_processes_too(tmp_path, photo):
    cache = make_cache(tmp_path)
    assert cache.read(cache.path(str(photo), 1)) is None
    cache.write(cache.path(str(photo), 1), ARRAY)
    other = make_cache(tmp_path)
    assert np.array_equal(other.read(other.path(str(photo), 1)), ARRAY)


def test_a_file_that_changes_or_is_decoded_otherwise_has_another_array(tmp_path, photo):
    cache = make_cache(tmp_path)
    paths = {cache.path(str(photo), 1), cache.path(str(photo), 2)}
    os.utime(photo, (1, 1))
    paths.add(cache.path(str(photo), 1))
    photo.write_bytes(b"more pixels")
    os.utime(photo, (1, 1))
    paths.add(cache.path(str(photo), 1))
    assert len(paths) == 4


def test_no_more_is_kept_than_allowed(tmp_path):
    cache = make_cache(tmp_path, max_bytes=100, num_writers=2)
    for number in range(20):
        cache.write(tmp_path / f"cache/{number}.npy", ARRAY)
    # Of 50 bytes for each of two processes; what the format adds to an array does not count.
    assert len(list((tmp_path / "cache").iterdir())) == 4
    full = make_cache(tmp_path, max_bytes=500)  # 560 bytes are in it
    full.write(tmp_path / "cache/one_more.npy", ARRAY)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_what_a_killed_process_has_left_takes_no_room(tmp_path):
    make_cache(tmp_path)
    (tmp_path / "cache/0.unfinished").write_bytes(bytes(500))
    cache = make_cache(tmp_path, max_bytes=100)
    cache.write(tmp_path / "cache/a.npy", ARRAY)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.npy"]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"anything"])
def test_a_damaged_file_is_none(tmp_path, content):
    cache = make_cache(tmp_path)
    (tmp_path / "cache/a.npy").write_bytes(content)
    assert cache.read(tmp_path / "cache/a.npy") is None


def test_a_cut_file_is_none(tmp_path):
    cache, path = make_cache(tmp_path), tmp_path / "cache/a.npy"
    cache.write(path, ARRAY)
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.read(path) is None


def test_a_folder_that_has_gone_does_not_stop_the_loading(tmp_path):
    cache = make_cache(tmp_path)
    (tmp_path / "cache").rmdir()
    cache.write(tmp_path / "cache/a.npy", ARRAY)
    assert cache.read(tmp_path / "cache/a.npy") is None

"""Files that are replaced when their new content is complete."""

import pytest

from autoassign.config import replacing


def test_of_two_writers_at_once_the_last_wins(tmp_path):
    path = tmp_path / "file.json"
    with replacing(path) as first:
        with replacing(path) as second:
            second.write_text("second")
            first.write_text("first")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as unfinished:
        unfinished.write_text(1)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

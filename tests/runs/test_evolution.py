"""Maps of a few objects over a training: written, read back, resumed and refused."""

from dataclasses import replace

import numpy as np
import pytest
from narrow_model import image_input, narrow_model

from autoassign.modeling import explain_image
from autoassign.runs import load_evolutions, save_iteration, start_evolution


@pytest.fixture
def explanation():
    item = image_input([[10.0, 12.0, 70.0, 80.0], [3.0, 3.0, 6.0, 6.0]], [1, 2])
    return explain_image(narrow_model().eval(), item)


def first_object(explanation):
    return replace(explanation, objects=explanation.objects[:1])


def test_what_is_recorded_of_a_training_is_read_back(tmp_path, explanation):
    recorded = [first_object(explanation)]
    folder = tmp_path / "evolution"
    start_evolution(folder, recorded, ["an object"], 0)
    save_iteration(folder, 200, recorded)
    (evolution,) = load_evolutions(folder)
    assert evolution.name == "an object"
    assert evolution.iterations == [0, 200]
    read, written = evolution.explanations[1], recorded[0]
    np.testing.assert_array_equal(read.image, written.image)
    assert (read.strides, read.offset, read.level_sizes) == (
        (written.strides, written.offset, written.level_sizes)
    )
    assert read.objects[0].peak == written.objects[0].peak
    levels = written.objects[0].maps["positive weight"]
    for x, y in zip(read.objects[0].maps["positive weight"], levels, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_resumed_training_goes_on_from_its_iteration(tmp_path, explanation):
    recorded = [first_object(explanation)]
    start_evolution(tmp_path, recorded, ["a"], 0)
    for iteration in (100, 200):
        save_iteration(tmp_path, iteration, recorded)
    start_evolution(tmp_path, recorded, ["a"], 100)
    assert load_evolutions(tmp_path)[0].iterations == [0, 100]


def test_a_training_from_the_start_keeps_nothing_of_an_earlier_one(tmp_path, explanation):
    start_evolution(tmp_path, [first_object(explanation)], ["a"], 0)
    save_iteration(tmp_path, 100, [first_object(explanation)])
    start_evolution(tmp_path, [first_object(explanation)] * 2, ["a", "b"], 0)
    assert [x.iterations for x in load_evolutions(tmp_path)] == [[0], [0]]


def test_other_objects_are_not_mixed_in_after_resuming(tmp_path, explanation):
    first, second = (replace(explanation, objects=[maps]) for maps in explanation.objects)
    start_evolution(tmp_path, [first], ["a"], 0)
    save_iteration(tmp_path, 100, [first])
    for recorded, names in (([second], ["a"]), ([first], ["b"]), ([first, second], ["a", "b"])):
        with pytest.raises(ValueError, match=r"restore TEST\.EVOLUTION.* or move .* away"):
            start_evolution(tmp_path, recorded, names, 50)
    assert load_evolutions(tmp_path)[0].iterations == [0, 100]


def test_broken_and_foreign_files_are_named(tmp_path, explanation):
    start_evolution(tmp_path, [first_object(explanation)] * 2, ["a", "b"], 0)
    save_iteration(tmp_path, 0, [first_object(explanation)])
    with pytest.raises(ValueError, match=r"iter_0000000\.npz does not belong to"):
        load_evolutions(tmp_path)
    path = tmp_path / "iter_0000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"iter_0000000\.npz cannot be read"):
        load_evolutions(tmp_path)

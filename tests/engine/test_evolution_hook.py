"""The hook that keeps how objects are assigned."""

import numpy as np
import pytest
import torch
from narrow_model import narrow_cfg
from training_runs import process_state_kept, run

from autoassign.checkpoint import Strictness
from autoassign.data import load_dataset
from autoassign.data.model_inputs import map_record
from autoassign.engine.evolution_hook import EvolutionRecorder
from autoassign.modeling import explain_image
from autoassign.runs import load_detector
from autoassign.runs.evolution import load_evolutions

EVOLUTION = ("TEST.EVOLUTION.ENABLED", True, "TEST.EVOLUTION.PERIOD", 3)


@pytest.fixture(scope="module")
def recorded(shapes, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "recorded"
    run(shapes, output, *EVOLUTION, "TEST.EVOLUTION.NUM_OBJECTS", 2)
    return output


def test_maps_are_kept_at_the_start_every_period_and_at_the_end(recorded):
    evolutions = load_evolutions(recorded / "evolution")
    assert len(evolutions) == 2
    for evolution in evolutions:
        assert evolution.iterations == [0, 3, 4]
        np.testing.assert_allclose(evolution.level_shares.sum(axis=1), 1, atol=1e-5)
        first, _, last = (x.objects[0] for x in evolution.explanations)
        finest = (x.maps["positive weight"][0] for x in (first, last))
        assert not np.array_equal(*finest, equal_nan=True)


def test_the_last_maps_are_those_of_the_final_model(shapes, tmp_path):
    output = tmp_path / "run"
    # Otherwise the final model is the average, which is not what the hook looks at.
    run(shapes, output, *EVOLUTION, "MODEL.EMA.ENABLED", False, "TEST.EVAL_PERIOD", 0)
    with process_state_kept():
        subject = load_detector(
            None, str(output / "model_final.pth"), strictness=Strictness.EXPLANATION
        )
        _, records = load_dataset(subject.cfg)
    evolutions = load_evolutions(output / "evolution")
    assert len(evolutions) == len(records)
    for evolution, record in zip(evolutions, records, strict=True):
        kept = evolution.explanations[-1].objects[0]
        item = map_record(subject.cfg, record)
        assert kept.index == item["instances"].gt_boxes.area().argmax()
        (expected,) = explain_image(subject.model, item, objects=[kept.index]).objects
        np.testing.assert_array_equal(kept.box, expected.box)
        for level, wanted in zip(
            kept.maps["positive weight"], expected.maps["positive weight"], strict=True
        ):
            np.testing.assert_allclose(level, wanted, rtol=1e-4)


def test_resuming_with_other_objects_is_refused(shapes, tmp_path):
    output = tmp_path / "run"
    options = (*EVOLUTION, "TEST.EVAL_PERIOD", 0)
    run(shapes, output, *options, "SOLVER.MAX_ITER", 2, "TEST.EVOLUTION.NUM_OBJECTS", 2)
    with pytest.raises(ValueError, match=r"restore TEST\.EVOLUTION"):
        run(shapes, output, *options, "TEST.EVOLUTION.NUM_OBJECTS", 1, flags=("--resume",))
    run(shapes, output, *options, "TEST.EVOLUTION.NUM_OBJECTS", 2, flags=("--resume",))
    assert load_evolutions(output / "evolution")[1].iterations == [0, 2, 3, 4]


def test_training_is_not_changed(recorded, trained):
    with_hook, without = (torch.load(path / "model_final.pth") for path in (recorded, trained))
    for name, value in without["model"].items():
        torch.testing.assert_close(with_hook["model"][name], value, rtol=0, atol=0)


@pytest.mark.parametrize(("option", "value"), [("PERIOD", 0), ("NUM_OBJECTS", 0)])
def test_wrong_options_stop_before_training(shapes, tmp_path, option, value):
    with pytest.raises(ValueError, match=f"TEST.EVOLUTION.{option} is {value}"):
        run(shapes, tmp_path / "out", *EVOLUTION, f"TEST.EVOLUTION.{option}", value)


def test_other_architectures_stop_before_training():
    cfg = narrow_cfg(*EVOLUTION, "DATASETS.TEST", ("shapes_val",), "MODEL.META_ARCHITECTURE", "X")
    with pytest.raises(ValueError, match="a X does not explain"):
        EvolutionRecorder(cfg, torch.nn.Identity())

"""The hook that keeps how objects are assigned."""

import numpy as np
import pytest
import torch
from narrow_model import narrow_cfg
from runs import run

from autoassign.engine.evolution_hook import EvolutionRecorder
from autoassign.visualization.evolution_store import load_evolutions

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

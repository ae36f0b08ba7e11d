"""From a weight file to a detector."""

import shutil
from pathlib import Path

import pytest
import torch
from detectors import CLASS_NAMES, OPTIONS, detector_cfg
from narrow_model import narrow_cfg

from autoassign.checkpoint import CheckpointDescription, Strictness
from autoassign.runs import detector as detector_module
from autoassign.runs import load_detector, load_detector_from_config, load_trained_config

IDS = {7: 0, 1: 1, 3: 2, 5: 3, 9: 4}


@pytest.fixture
def described(weights, tmp_path) -> str:
    """A checkpoint that describes itself, in a folder of its own."""
    return describe(weights, tmp_path / "described.pth")


def describe(weights: str, path: Path, **changes: object) -> str:
    content = {
        "version": "0.2",
        "config": narrow_cfg(*OPTIONS, "MODEL.POINT_HEAD.NUM_CLASSES", 0).dump(),
        "thing_classes": CLASS_NAMES,
        "thing_dataset_id_to_contiguous_id": IDS,
    }
    checkpoint = torch.load(weights) | CheckpointDescription(**(content | changes)).to_checkpoint()
    torch.save(checkpoint, path)
    return str(path)


def test_a_checkpoint_that_describes_itself_is_enough(described, weights):
    detector = load_detector(weights=described)
    assert detector.class_names == CLASS_NAMES
    assert detector.metadata.thing_dataset_id_to_contiguous_id == IDS
    assert detector.cfg.MODEL.POINT_HEAD.NUM_CLASSES == 5
    assert detector.cfg.MODEL.WEIGHTS == detector.weights == described
    assert detector.strategy == "AutoAssign"
    assert not detector.model.training
    tensors = torch.load(weights)["model"]
    for name, tensor in detector.model.state_dict().items():
        assert torch.equal(tensor, tensors[name])


def test_the_weights_are_read_once(described, monkeypatch):
    paths = []
    read = detector_module.read_weight_file
    monkeypatch.setattr(
        detector_module, "read_weight_file", lambda path: paths.append(path) or read(path)
    )
    load_detector(weights=described)
    assert paths == [described]
    load_detector_from_config(detector_cfg(described, "MODEL.POINT_HEAD.NUM_CLASSES", 0))
    assert paths == [described] * 2


def test_the_config_file_precedes_the_config_inside_which_precedes_the_one_beside(
    described, weights, tmp_path
):
    for name, score in (("config.yaml", 0.1), ("other.yaml", 0.2)):
        options = (*OPTIONS, "MODEL.POINT_HEAD.SCORE_THRESH_TEST", score)
        (tmp_path / name).write_text(narrow_cfg(*options).dump())
    bare = shutil.copy(weights, tmp_path / "bare.pth")

    def score_of(*arguments):
        return load_trained_config(*arguments).MODEL.POINT_HEAD.SCORE_THRESH_TEST

    assert score_of(str(tmp_path / "other.yaml"), described) == 0.2
    assert score_of(None, described) == 0.01
    assert score_of(None, str(bare)) == 0.1
    assert score_of(None, described, ["MODEL.POINT_HEAD.SCORE_THRESH_TEST=0.3"]) == 0.3


def test_without_any_config_the_sentence_says_where_it_was_looked_for(weights, tmp_path):
    bare = shutil.copy(weights, tmp_path / "bare.pth")
    with pytest.raises(FileNotFoundError, match=r"bare\.pth has no config inside.*config\.yaml"):
        load_detector(weights=str(bare))
    with pytest.raises(ValueError, match="give --config-file, --weights or both"):
        load_detector()


def test_the_config_inside_does_not_choose_where_files_are_written(weights, tmp_path, monkeypatch):
    config = narrow_cfg(*OPTIONS, "OUTPUT_DIR", "/elsewhere").dump()
    path = describe(weights, tmp_path / "sent.pth", config=config)
    assert str(tmp_path) == load_trained_config(None, path).OUTPUT_DIR
    assert load_trained_config(None, path, ["OUTPUT_DIR=mine"]).OUTPUT_DIR == "mine"
    monkeypatch.chdir(tmp_path)
    assert load_trained_config(None, "sent.pth").OUTPUT_DIR == "."


def test_names_that_are_given_precede_those_inside(described):
    names = ["v", "w", "x", "y", "z"]
    assert load_detector(weights=described, class_names=names).class_names == names


def test_the_config_inside_runs_no_code(weights, tmp_path):
    config = f"OUTPUT_DIR: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]"
    path = describe(weights, tmp_path / "evil.pth", config=config)
    with pytest.raises(ValueError, match=r"the config in .*evil\.pth: it is not plain YAML"):
        load_detector(weights=path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"config": 3},
        {"version": None},
        {"thing_classes": 3},
        {"thing_classes": [1, 2, 3, 4, 5]},
        {"thing_classes": ["a"]},
        {"thing_dataset_id_to_contiguous_id": [1]},
        {"thing_dataset_id_to_contiguous_id": {"x": 0}},
        {"thing_dataset_id_to_contiguous_id": IDS | {9: 9}},
        {"thing_dataset_id_to_contiguous_id": IDS | {9: "4"}},
    ],
)
def test_a_malformed_description_is_named(weights, tmp_path, changes):
    path = describe(weights, tmp_path / "odd.pth", **changes)
    with pytest.raises(ValueError, match=r"odd\.pth: its 'autoassign' entry is malformed"):
        load_detector(weights=path)


def changed(weights: str, path: Path, add: str = "", remove: str = "-") -> str:
    """Weights with a tensor more, or without those of a prefix."""
    tensors = torch.load(weights)["model"]
    tensors = {name: x for name, x in tensors.items() if not name.startswith(remove)}
    if add:
        tensors[add] = torch.zeros(1)
    torch.save({"model": tensors}, path)
    return str(path)


@pytest.mark.parametrize(
    ("change", "prediction", "explanation"),
    [
        ({}, "", ""),
        ({"add": "label_assignment.other"}, "", "have label_assignment.other"),
        ({"remove": "label_assignment."}, "", "lack label_assignment.mu"),
        ({"add": "head.other"}, "have head.other", "have head.other"),
        ({"add": "backbone.other"}, "", ""),
        ({"remove": "head.obj_score"}, "lack head.obj_score", "lack head.obj_score"),
        ({"remove": "head."}, "no head: a trained detector", "no head: a trained detector"),
        ({"remove": "backbone.bottom_up"}, "lack backbone.bottom_up", "lack backbone.bottom_up"),
        ({"remove": "", "add": "x"}, "no tensor of this config's model", "no tensor of this"),
    ],
)
def test_how_well_weights_have_to_fit(weights, tmp_path, change, prediction, explanation):
    path = changed(weights, tmp_path / "weights.pth", **change)
    cfg = detector_cfg(path)
    for strictness, message in (
        (Strictness.PREDICTION, prediction),
        (Strictness.EXPLANATION, explanation),
    ):
        if message:
            sentence = rf"weights\.pth does not fit the config's AutoAssign: .*{message}"
            with pytest.raises(ValueError, match=sentence):
                load_detector_from_config(cfg, strictness=strictness)
        else:
            load_detector_from_config(cfg, strictness=strictness)


@pytest.mark.parametrize("strictness", [Strictness.PREDICTION, Strictness.EXPLANATION])
def test_what_does_not_fit_is_not_advised_to_be_trained_from_scratch(weights, strictness):
    cfg = detector_cfg(weights, "MODEL.POINT_HEAD.NUM_CLASSES", 2)
    with pytest.raises(ValueError, match="4 tensors do not fit") as error:
        load_detector_from_config(cfg, strictness=strictness)
    assert "WEIGHTS_SKIP_MISMATCHED" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.BACKBONE.NAME", "build_no_such_backbone"),
        ("MODEL.FPN.OUT_CHANNELS", 2**62),
    ],
)
def test_a_detector_that_cannot_be_built_is_one_sentence(weights, options):
    with pytest.raises(ValueError, match="the detector of the config cannot be built: "):
        load_detector_from_config(detector_cfg(weights, *options))


def test_a_tensor_that_cannot_be_copied_is_one_sentence(weights, tmp_path):
    tensors = torch.load(weights)["model"]
    tensors["head.cls_score.bias"] = tensors["head.cls_score.bias"].to_sparse()
    torch.save({"model": tensors}, tmp_path / "sparse.pth")
    with pytest.raises(ValueError, match=r"sparse\.pth does not fit"):
        load_detector_from_config(detector_cfg(str(tmp_path / "sparse.pth")))

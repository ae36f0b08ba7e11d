import pytest
from comparison_files import write_config
from narrow_model import NARROW

from autoassign.analysis.comparison.candidates import load_candidates
from autoassign.analysis.comparison.preflight import check_trainable
from autoassign.config import LABEL_ASSIGNMENT_REGISTRY, flatten_options, load_config
from autoassign.data.shapes import generate_shapes
from autoassign.modeling.assignment import FCOS

FIRST = "SOLVER: {BASE_LR: 0.1}\nMODEL: {EMA: {DECAY: 0.5}, POINT_HEAD: {NUM_CONVS: 3}}\n"
SECOND = """
SOLVER: {BASE_LR: 0.2, WARMUP_METHOD: "constant"}
MODEL: {EMA: {DECAY: 0.9}, POINT_HEAD: {NUM_CONVS: 1}}
INPUT: {FORMAT: "RGB", MIN_SIZE_TEST: 64}
"""


def test_data_and_schedule_are_the_first_ones_and_the_model_each_ones_own(tmp_path):
    files = [write_config(tmp_path, "first", FIRST), write_config(tmp_path, "second", SECOND)]
    first, second = load_candidates(files, [])
    assert first.overridden == {}
    assert second.overridden == {
        "SOLVER.BASE_LR": 0.2,
        "SOLVER.WARMUP_METHOD": "constant",
        "MODEL.EMA.DECAY": 0.9,
        "INPUT.MIN_SIZE_TEST": 64,
    }
    for section in ("SOLVER", "TEST", "DATASETS", "DATALOADER"):
        assert second.cfg[section] == first.cfg[section]
    assert (first.cfg.MODEL.POINT_HEAD.NUM_CONVS, second.cfg.MODEL.POINT_HEAD.NUM_CONVS) == (3, 1)


def test_the_order_of_the_channels_goes_with_the_model(tmp_path):
    files = [write_config(tmp_path, "first", FIRST), write_config(tmp_path, "second", SECOND)]
    assert [x.cfg.INPUT.FORMAT for x in load_candidates(files, [])] == ["BGR", "RGB"]


def test_options_apply_to_all(tmp_path):
    files = [write_config(tmp_path, "first", FIRST), write_config(tmp_path, "second", SECOND)]
    first, second = load_candidates(files, ["SOLVER.BASE_LR", "0.3"])
    assert first.cfg.SOLVER.BASE_LR == second.cfg.SOLVER.BASE_LR == 0.3
    assert "SOLVER.BASE_LR" not in second.overridden


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.BASE_LR"], "BASE_LR has no value"),
        (["SEED", "3"], "SEED is set for every run"),
        (["OUTPUT_DIR", "x"], "OUTPUT_DIR is set"),
        (["--jobs", "3"], "before the options"),
        (["SOLVER.NO_KEY", "3"], "no option SOLVER.NO_KEY"),
    ],
)
def test_options_that_cannot_be(tmp_path, opts, message):
    with pytest.raises(ValueError, match=message):
        load_candidates([write_config(tmp_path, "first")], opts)


def test_an_unknown_key_is_told_with_its_file(tmp_path):
    files = [write_config(tmp_path, "a"), write_config(tmp_path, "b", "SOLVER: {LR: 1}")]
    with pytest.raises(ValueError, match=r"b\.yaml: .*SOLVER\.LR"):
        load_candidates(files, [])


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        load_candidates([write_config(tmp_path, "a"), "nothing.yaml"], [])


def test_two_files_of_one_name(tmp_path):
    (tmp_path / "other").mkdir()
    files = [write_config(tmp_path, "a"), write_config(tmp_path / "other", "a")]
    with pytest.raises(ValueError, match="are both called a"):
        load_candidates(files, [])


@pytest.fixture
def shapes_config(tmp_path):
    generate_shapes(tmp_path / "shapes", num_train=2, num_val=1)
    return write_config(
        tmp_path,
        "good",
        f"""
DATASETS: {{CUSTOM: {{FORMAT: coco, ROOT: "{tmp_path}/shapes", TRAIN: annotations/train.json,
  TRAIN_IMAGES: train, TEST: annotations/val.json, TEST_IMAGES: val}}}}
""",
    )


def test_a_model_that_cannot_be_built_is_found_before_training(shapes_config, tmp_path):
    bad = write_config(tmp_path, "bad", 'MODEL: {LABEL_ASSIGNMENT: {NAME: "Nobody"}}')
    opts = [str(x) for x in NARROW]
    assert check_trainable(load_candidates([shapes_config], opts)) == ("shapes_val",)
    with pytest.raises(ValueError, match=r"bad\.yaml: .*Nobody"):
        check_trainable(load_candidates([shapes_config, bad], opts))


def test_a_name_with_a_dot_before_it_is_kept_for_the_tool(tmp_path):
    with pytest.raises(ValueError, match=r"\.speed\.yaml starts with a dot"):
        load_candidates([write_config(tmp_path, ".speed")], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("TEST.EVOLUTION.ENABLED", True, "TEST.EVOLUTION.PERIOD", 0), "PERIOD is 0"),
        (("MODEL.EMA.DECAY", 1.5), r"MODEL\.EMA\.DECAY is 1\.5"),
        (("TEST.PRECISE_BN.ENABLED", True), "PRECISE_BN.ENABLED and MODEL.EMA.ENABLED exclude"),
    ],
)
def test_what_the_trainer_refuses_is_found_before_training(shapes_config, options, message):
    averaged = ("MODEL.EMA.ENABLED", True)
    candidates = load_candidates([shapes_config], [str(x) for x in (*NARROW, *averaged, *options)])
    with pytest.raises(ValueError, match=rf"good\.yaml: .*{message}"):
        check_trainable(candidates)


def test_a_model_that_cannot_be_recorded_is_found_before_training(shapes_config, tmp_path):
    retinanet = write_config(
        tmp_path,
        "retinanet",
        """
MODEL:
  META_ARCHITECTURE: "RetinaNet"
  RETINANET: {NUM_CLASSES: 0, IN_FEATURES: ["p3"]}
  ANCHOR_GENERATOR: {SIZES: [[32]]}
""",
    )
    opts = [str(x) for x in (*NARROW, "TEST.EVOLUTION.ENABLED", True)]
    with pytest.raises(ValueError, match=r"retinanet\.yaml: .*a RetinaNet does not explain"):
        check_trainable(load_candidates([shapes_config, retinanet], opts))


def test_one_config_with_several_strategies(tmp_path):
    file = write_config(tmp_path, "base", 'MODEL: {LABEL_ASSIGNMENT: {NAME: "DSLA"}}')
    candidates = load_candidates([file], ["SOLVER.BASE_LR", "0.5"], ["FCOS", "ATSS"])
    assert [x.name for x in candidates] == ["FCOS", "ATSS"]
    assert [x.cfg.MODEL.LABEL_ASSIGNMENT.NAME for x in candidates] == ["FCOS", "ATSS"]
    for candidate in candidates:
        assert candidate.file == file
        assert candidate.cfg.SOLVER.BASE_LR == 0.5
        assert candidate.overridden == {}


def test_all_strategies_begin_with_that_of_the_config(tmp_path):
    file = write_config(tmp_path, "base", 'MODEL: {LABEL_ASSIGNMENT: {NAME: "DSLA"}}')
    names = [x.name for x in load_candidates([file], [], ["all"])]
    assert names[0] == "DSLA"
    assert sorted(names) == sorted(name for name, _ in LABEL_ASSIGNMENT_REGISTRY)


def test_a_strategy_brings_its_head_options_unless_they_are_given(tmp_path, monkeypatch):
    options = {"LOCATION_OFFSET": 0.5, "PRIOR_PROB": 0.3}
    monkeypatch.setattr(FCOS, "head_options", options)
    file = write_config(tmp_path, "base")
    (fcos,) = load_candidates([file], ["MODEL.POINT_HEAD.PRIOR_PROB", "0.2"], ["FCOS"])
    head = fcos.cfg.MODEL.POINT_HEAD
    assert (head.LOCATION_OFFSET, head.PRIOR_PROB) == (0.5, 0.2)


def test_no_strategy_gets_the_head_of_the_config_s_own(monkeypatch):
    heads = {
        x.name: x.cfg.MODEL.POINT_HEAD
        for x in load_candidates(
            ["quickstart/fcos_shapes.yaml"], [], ["FCOS", "AutoAssign", "ATSS"]
        )
    }
    # The values of quickstart/<strategy>_shapes.yaml.
    assert {
        name: (head.LOCATION_OFFSET, head.OBJECTNESS, head.PRIOR_PROB)
        for name, head in heads.items()
    } == {
        "FCOS": (0.5, "none", 0.01),
        "AutoAssign": (0.0, "implicit", 0.02),
        "ATSS": (0.0, "none", 0.01),
    }


def test_a_variant_changes_the_only_config_by_its_own_options(tmp_path):
    base = write_config(tmp_path, "base", "MODEL: {POINT_HEAD: {NUM_CONVS: 1}, FPN: {NORM: BN}}")
    variants = ["ablations/table2_both.yaml", "ablations/table2_center_only.yaml"]
    both, center_only = load_candidates([base], ["SOLVER.BASE_LR", "0.5"], variants=variants)
    assert (both.name, center_only.name) == ("table2_both", "table2_center_only")
    assert both.cfg == load_config(base, ["SOLVER.BASE_LR", "0.5"])
    options = flatten_options(center_only.cfg)
    changed = {key: x for key, x in options.items() if x != flatten_options(both.cfg)[key]}
    assert changed == {"MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CONFIDENCE_WEIGHTING": "none"}
    assert (both.overridden, center_only.overridden) == ({}, {})


def test_a_variant_of_another_strategy_has_the_head_that_this_recommends(tmp_path):
    base = write_config(tmp_path, "base")
    names = ("table5_fcos_no_objectness", "table5_fcos_implicit_objectness")
    variants = [f"ablations/{name}.yaml" for name in names]
    heads = [x.cfg.MODEL.POINT_HEAD for x in load_candidates([base], [], variants=variants)]
    assert [(x.OBJECTNESS, x.LOCATION_OFFSET, x.PRIOR_PROB) for x in heads] == [
        ("none", 0.5, 0.01),
        ("implicit", 0.5, 0.01),
    ]


def test_wrong_variants_are_refused(tmp_path):
    files = [write_config(tmp_path, name) for name in "ab"]
    rate = write_config(tmp_path, "rate", "SOLVER: {BASE_LR: 0.1}\nMODEL: {EMA: {DECAY: 0.5}}")
    with pytest.raises(ValueError, match=r"rate\.yaml sets SOLVER\.BASE_LR, MODEL\.EMA\.DECAY,"):
        load_candidates(files[:1], [], variants=[rate])
    with pytest.raises(ValueError, match="--variants needs one --config-file, not 2"):
        load_candidates(files, [], variants=files)
    with pytest.raises(ValueError, match=r"a\.yaml and .*a\.yaml are both called a"):
        load_candidates(files[1:], [], variants=[files[0], files[0]])


def test_only_point_detectors_have_strategies_and_variants(tmp_path):
    text = 'MODEL: {META_ARCHITECTURE: "Detectron2FCOS"}\n'
    files = [write_config(tmp_path, "peer", text), write_config(tmp_path, "variant")]
    message = r"peer\.yaml: MODEL\.META_ARCHITECTURE is Detectron2FCOS; --strategies and --variants"
    with pytest.raises(ValueError, match=message):
        load_candidates(files[:1], [], ["AutoAssign", "FCOS"])
    with pytest.raises(ValueError, match=message):
        load_candidates(files[:1], [], variants=files[1:])


def test_options_cannot_choose_the_strategy_of_every_run(tmp_path):
    with pytest.raises(ValueError, match=r"MODEL\.LABEL_ASSIGNMENT\.NAME is set by --strategies"):
        load_candidates(
            [write_config(tmp_path, "a")], ["MODEL.LABEL_ASSIGNMENT.NAME", "FCOS"], ["ATSS", "FSAF"]
        )


def test_wrong_strategies_are_refused(tmp_path):
    files = [write_config(tmp_path, name) for name in "ab"]
    with pytest.raises(ValueError, match="no label assignment 'Nobody'; it may be one of"):
        load_candidates(files[:1], [], ["Nobody"])
    with pytest.raises(ValueError, match="--strategies needs one --config-file, not 2"):
        load_candidates(files, [], ["FCOS"])
    with pytest.raises(ValueError, match="names one twice: FCOS FCOS"):
        load_candidates(files[:1], [], ["FCOS", "FCOS"])

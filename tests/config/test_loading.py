import os

import pytest
import yaml
from detectron2.config import get_cfg
from hypothesis import given
from hypothesis import strategies as st

from autoassign import add_autoassign_config, get_config_file, load_config
from autoassign.config import load_config_text, normalize_opts

RUNS_CODE = "!!python/object/apply:os.mkdir [{}]"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.yaml"


def test_a_shipped_config_is_what_detectron2_loads():
    path = get_config_file("COCO-Detection/dsla_R_50_FPN_1x.yaml")
    expected = get_cfg()
    add_autoassign_config(expected)
    expected.merge_from_file(path)
    cfg = load_config("COCO-Detection/dsla_R_50_FPN_1x.yaml")
    assert cfg == expected
    again = load_config_text(cfg.dump(), source="text")
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


def test_options_override_the_file(file):
    file.write_text("SEED: 1\nSOLVER: {BASE_LR: 0.5}\n")
    cfg = load_config(str(file), ["SEED=2", "TEST.EVAL_PERIOD", "7"])
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.TEST.EVAL_PERIOD) == (2, 0.5, 7)


@pytest.mark.parametrize("is_base", [False, True])
def test_a_file_cannot_run_code(tmp_path, file, is_base):
    evil = tmp_path / "evil.yaml" if is_base else file
    evil.write_text(f"SEED: 1\nOUTPUT_DIR: {RUNS_CODE.format(tmp_path / 'made')}\n")
    if is_base:
        file.write_text("_BASE_: evil.yaml\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: it is not plain YAML: .*object/apply") as e:
        load_config(str(file))
    assert f"({evil}, line 2)" in str(e.value)
    assert not (tmp_path / "made").exists()


def test_a_text_cannot_run_code_or_read_files(tmp_path):
    with pytest.raises(ValueError, match="x: it is not plain YAML"):
        load_config_text(f"SEED: {RUNS_CODE.format(tmp_path / 'made')}", source="x")
    with pytest.raises(ValueError, match="x: there is no option _BASE_"):
        load_config_text("_BASE_: other.yaml", source="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a mapping"),
        ("- 1\n", "not a mapping"),
        ("text\n", "not a mapping"),
        ("3\n", "not a mapping"),
        ("_BASE_: 3\n", "not a mapping"),
        ("MODEL:\n", "MODEL is a section of options, not None: set one of"),
        (
            "MODEL: {WEIGHTS: {A: 1}}\n",
            r"no option MODEL\.WEIGHTS\.A; did you mean MODEL\.WEIGHTS\?",
        ),
        ("_BASE_: mine.yaml\n", "form a cycle"),
        ("_BASE_: [mine.yaml]\n", "form a cycle"),
        ("A: " + "[" * 1000 + "]" * 1000, "nested too deeply"),
        ("A: " + "{B: " * 1000 + "}" * 1000, "nested too deeply"),
        ("MODEL: &m {RESNETS: *m}", "an alias stands for a mapping"),
        ("SEED: 1\n : [", r"it is not plain YAML: .*line 2"),
        ("SEED: null\n", "SEED is None; it must be of type int"),
        ("SEED: 1.5\n", "SEED is 1.5; it must be of type int"),
        ("SEED: " + "9" * 400, "SEED is 999.*at most 64 bits"),
        ("SEED: " + "9" * 5000, "a value cannot be read"),
        ("SEED: 2020-01-01\n", r"SEED is datetime\.date"),
        ("SEED: " + "-" * 5000 + "1", "SEED is '---"),
        ("1: 2\n", "there is no option 1"),
        ("null: 2\n", "there is no option None"),
        ("SOLVER: {BASE_LRR: 1}\n", r"no option SOLVER\.BASE_LRR; did you mean SOLVER\.BASE_LR "),
        ("model: {weights: x}\n", r"no option model\.weights; did you mean MODEL\.WEIGHTS"),
        ("X: {}\n", "there is no option X"),
        ("MODEL: {LABEL_ASSIGNMENT: {MINE: {ALPHA: 1}}}\n", "a MINE of another .* --import MODULE"),
    ],
)
def test_a_file_that_is_no_config_is_named(file, content, message):
    file.write_text(content)
    with pytest.raises(ValueError, match=f"(?s)mine.yaml: .*{message}"):
        load_config(str(file))


BOMB = "x0: &x0 {a: 1}\n" + "".join(
    f"x{i}: &x{i} {{a: *x{i - 1}, b: *x{i - 1}}}\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        "x: &x {a: 1}\ny: {<<: *x}",
        "x: &x [[1]]\ny: *x",
        "x: &x [*x]",
        "x: &x {a: *x}",
    ],
)
@pytest.mark.parametrize("is_base", [False, True])
def test_aliases_do_not_multiply(tmp_path, file, content, is_base):
    (tmp_path / "base.yaml").write_text(content)
    file.write_text("_BASE_: base.yaml" if is_base else content)
    message = r"mine\.yaml: .*an alias stands for a mapping or a nested list.*line"
    with pytest.raises(ValueError, match=message):
        load_config(str(file))
    with pytest.raises(ValueError, match="an alias stands for"):
        load_config_text(content, source="text")


def test_a_flat_list_may_have_an_alias(file):
    file.write_text("MODEL:\n  PIXEL_MEAN: &x [1.0, 2.0, 3.0]\n  PIXEL_STD: *x\n")
    assert load_config(str(file)).MODEL.PIXEL_STD == [1.0, 2.0, 3.0]


def test_a_file_that_is_not_utf_8_is_named(file):
    file.write_bytes(b"OUTPUT_DIR: caf\xe9\n")
    with pytest.raises(ValueError, match=r"mine\.yaml or its _BASE_ is not UTF-8"):
        load_config(str(file))


def test_a_fifo_is_not_waited_for(file):
    os.mkfifo(file)
    with pytest.raises(OSError, match="not a regular file"):
        load_config(str(file))


def test_a_base_that_is_missing_is_named(file):
    file.write_text("_BASE_: gone.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        load_config(str(file))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", "1e-3", 0.001),
        ("SEED", "-3", -3),
        ("OUTPUT_DIR", "2007", "2007"),
        ("OUTPUT_DIR", "'a b'", "a b"),
        ("OUTPUT_DIR", "a=b", "a=b"),
        ("INPUT.MIN_SIZE_TRAIN", "[1, 2]", (1, 2)),
        ("MODEL.EMA.ENABLED", "True", True),
        ("SOLVER.WEIGHT_DECAY_BIAS", "1", 1.0),
        ("SOLVER.WEIGHT_DECAY_BIAS", "None", None),
    ],
)
@pytest.mark.parametrize("assigned", [False, True])
def test_values_have_the_type_of_the_default(key, text, value, assigned):
    node = load_config("", [f"{key}={text}"] if assigned else [key, text])
    for name in key.split("."):
        node = node[name]
    assert node == value
    assert type(node) is type(value)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SEED"], "SEED has no value"),
        (["SEED", "1", "--resume"], "--resume has to come before the options"),
        (["SEED", "x"], "SEED is 'x'; it must be of type int, such as the default -1"),
        (["MODEL.EMA.ENABLED", "1"], "it must be of type bool"),
        (
            ["MODEL.POINT_HEAD", "1"],
            "MODEL.POINT_HEAD is a section of options, not '1': set one of NUM_",
        ),
        (["MODEL.POINTHEAD.NORM", "BN"], "no option .* did you mean MODEL.POINT_HEAD.NORM"),
        (["model.weights", "x"], "did you mean MODEL.WEIGHTS"),
        (["MODEL.LABEL_ASSIGNMENT.MINE.ALPHA", "1"], "a MINE of another package needs --import"),
        (["SOLVER.WEIGHT_DECAY_BIAS", "x"], "must be of type float"),
        (["_BASE_", "x"], "there is no option _BASE_"),
    ],
)
def test_options_that_cannot_be(opts, message):
    with pytest.raises(ValueError, match=message):
        load_config("", opts)


def test_options_may_be_pairs_or_assignments():
    opts = ["A.B", "1", "C=2", "D=", "E", "F=3"]
    assert normalize_opts(opts) == ["A.B", "1", "C", "2", "D", "", "E", "F=3"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=9)
NAMES = st.sampled_from(("MODEL", "POINT_HEAD", "NUM_CLASSES", "NORM", "SEED", "_BASE_", "X.Y"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | SCALARS, inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=40) | VALUES.map(yaml.dump))
def test_any_text_is_a_config_or_one_sentence(text):
    try:
        message = load_config_text(text, source="text").dump()
    except ValueError as error:
        message = str(error)
    assert message.startswith(("text: ", "CUDNN_BENCHMARK: "))

"""Config options among other arguments, and the types of numbers."""

import argparse

import pytest
from detectron2.config import get_cfg

from autoassign.cli.arguments import add_options_argument, number_type, parse_arguments


def parse(*words: str, inputs: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x")
    if inputs:
        parser.add_argument("inputs", nargs="+")
    parser.add_argument("--classes", nargs="+")
    parser.add_argument("--resume", action="store_true")
    add_options_argument(parser)
    return parse_arguments(parser, words)


def test_options_may_stand_before_others():
    args = parse("SOLVER.BASE_LR", "0.1", "--resume", "OUTPUT_DIR", "out")
    assert args.resume
    assert args.opts == ["SOLVER.BASE_LR", "0.1", "OUTPUT_DIR", "out"]


def test_an_equals_sign_separates_as_well():
    args = parse("MODEL.WEIGHTS=a=b.pth", "--resume", "SEED=", "TEST.AUG.MIN_SIZES=(1, 2)")
    assert args.opts == ["MODEL.WEIGHTS", "a=b.pth", "SEED", "", "TEST.AUG.MIN_SIZES", "(1, 2)"]


def test_values_may_be_negative_or_empty():
    assert parse("SEED", "-1", "OUTPUT_DIR", "").opts == ["SEED", "-1", "OUTPUT_DIR", ""]


def test_options_end_a_list_of_values():
    args = parse("a.jpg", "--classes", "dog", "cat", "MODEL.DEVICE", "cpu", inputs=True)
    assert args.classes == ["dog", "cat"]
    assert args.opts == ["MODEL.DEVICE", "cpu"]


def test_files_of_a_camera_are_no_options():
    names = ["DSC_0001.JPG", "A=B.jpg", "TESTS", "--classes"]
    args = parse("SEED", "1", *names, "x", "SOLVER.MAX_ITER", "9", "IMG.PNG", inputs=True)
    assert args.classes == ["x", "IMG.PNG"]
    assert args.inputs == names[:3]
    assert args.opts == ["SEED", "1", "SOLVER.MAX_ITER", "9"]


def test_nothing_is_an_option_after_two_dashes():
    assert parse("--", "TEST.PNG", "SEED", inputs=True).inputs == ["TEST.PNG", "SEED"]


def test_inputs_may_stand_between_options():
    args = parse("a.jpg", "--resume", "b.jpg", inputs=True)
    assert args.inputs == ["a.jpg", "b.jpg"]


def test_misspelled_options_are_left_to_the_config_which_knows_them_all():
    args = parse("--resume", "SOLVR.LR", "1", "MODLE.A=2", "SEED", "3")
    assert args.opts == ["SEED", "3", "SOLVR.LR", "1", "MODLE.A", "2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SEED"], "the option SEED has no value"),
        (["SEED", "--resume"], "the option SEED has no value"),
        (["--resume", "SOLVR.LR"], "'SOLVR.LR' is no argument"),
        (["--no-such"], "unrecognized arguments: --no-such"),
    ],
)
def test_wrong_words_end_with_a_sentence(capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        parse(*words)
    assert f"x: error: {message}" in capsys.readouterr().err


def test_every_option_of_detectron2_is_recognized():
    cfg = get_cfg()
    keys = [f"{key}.X" if hasattr(value, "items") else key for key, value in cfg.items()]
    keys.append("FLOAT32_PRECISION")  # of newer versions
    words = [word for key in keys for word in (key, "1")]
    assert parse("a.jpg", *words, inputs=True).opts == words


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ((int, 1), "0", "0 is not at least 1"),
        ((int, 1), "1.5", "'1.5' is not a whole number"),
        ((float, 0, 1), "nan", "nan is not between 0 and 1"),
        ((float, 0, 1), "x", "'x' is not a number"),
    ],
)
def test_numbers_out_of_bounds(arguments, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        number_type(*arguments)(text)


def test_bounds_are_allowed():
    assert [number_type(float, 0, 1)(text) for text in ("0", "0.5", "1")] == [0, 0.5, 1]

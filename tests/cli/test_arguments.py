import argparse

import pytest

from autoassign.cli.arguments import number_type, run_command


def run(outcome: object) -> int:
    def command(args: argparse.Namespace) -> int | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return run_command(argparse.ArgumentParser(prog="x.py"), command, argparse.Namespace())


@pytest.mark.parametrize(("outcome", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_what_the_command_returns(outcome, status):
    assert run(outcome) == status


def test_an_interruption_is_no_traceback(capsys):
    assert run(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("error", [ValueError("wrong value"), FileNotFoundError("wrong value")])
def test_what_the_user_can_mend_is_a_sentence(capsys, error):
    with pytest.raises(SystemExit, match="2"):
        run(error)
    assert capsys.readouterr().err.endswith("x.py: error: wrong value\n")


def test_other_errors_are_raised():
    with pytest.raises(RuntimeError):
        run(RuntimeError("a bug"))


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ((int, 1), "0", "0 is not at least 1"),
        ((int, 1), "1.5", "'1.5' is not a whole number"),
        ((float, 0, 1), "nan", "nan does not lie between 0 and 1"),
        ((float, 0, 1), "x", "'x' is not a number"),
    ],
)
def test_numbers_out_of_bounds(arguments, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        number_type(*arguments)(text)


def test_bounds_are_allowed():
    assert [number_type(float, 0, 1)(text) for text in ("0", "0.5", "1")] == [0, 0.5, 1]

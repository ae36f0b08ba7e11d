"""`autoassign report`, on folders that are soon found wrong."""

import pytest

from autoassign.analysis import report
from autoassign.cli import main


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("VERSION: 2\n")
    (tmp_path / "metrics.json").write_text('{"iteration": 40, "bbox/AP": null}\n')
    return tmp_path


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["report", *map(str, arguments)])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json"])
def test_a_folder_that_is_no_run_is_an_error(run_folder, capsys, name):
    (run_folder / name).unlink()
    assert name in refusal(capsys, run_folder)
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL.NO_SUCH", "1"], "MODEL.NO_SUCH"),
        (["SOLVER.MAX_ITER"], "SOLVER.MAX_ITER has no value"),
        (["--output", "."], "--output . is a folder"),
        (["--num-images", "0"], "0 is not at least 1"),
        ([], 'metrics.json, line 1: "bbox/AP" is not a number: null'),
    ],
)
def test_wrong_arguments_and_files_are_named(run_folder, capsys, arguments, message):
    assert message in refusal(capsys, run_folder, *arguments)


def test_ctrl_c_ends_without_a_traceback(run_folder, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_report", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main(["report", str(run_folder)])
    assert capsys.readouterr().err == "interrupted\n"

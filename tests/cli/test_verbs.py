"""The command line as a whole: verbs, imports, errors."""

import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoassign import __version__
from autoassign.cli import main
from autoassign.cli.verbs import VERBS
from autoassign.engine import TrainingStopped

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "detectron2", "numpy", "matplotlib", "cv2")


def run_python(code: str, *options: str, cwd: Path | None = None) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "projects")}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(
        command, env=env, cwd=cwd, check=True, capture_output=True, text=True
    ).stdout


def test_letters_that_the_output_lacks_are_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit):
        main(["--version"])
    print("Stra\u00dfe.jpg", flush=True)
    assert stream.buffer.getvalue().endswith(b"Stra\\xdfe.jpg\n")


def test_no_help_imports_anything_heavy():
    code = f"""
import sys
from autoassign.cli import main
for words in {[[], *(verb.split() for verb in VERBS)]!r}:
    try:
        main([*words, "--help"])
    except SystemExit as end:
        assert end.code == 0
print("imported", [name for name in {HEAVY!r} if name in sys.modules])
"""
    assert run_python(code).endswith("imported []\n")


def test_only_the_module_of_the_verb_is_imported():
    code = """
import sys
from autoassign.cli import main
try:
    main(["report", "--help"])
except SystemExit:
    print(sorted(name for name in sys.modules if name.startswith("autoassign.cli.")))
"""
    loaded = run_python(code).splitlines()[-1]
    names = ("arguments", "errors", "imports", "report", "verbs")
    assert loaded == str([f"autoassign.cli.{name}" for name in names])


def test_the_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed and text in printed for verb, (_, text) in VERBS.items())


def test_a_verb_with_figures_lists_its_own(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["visualize"])
    printed = capsys.readouterr().err
    assert "visualize prior" in printed
    assert "doctor" not in printed


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"autoassign {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "autoassign: error: there is no 'trian'; did you mean 'train'?"),
        (["visualize", "pior"], "there is no 'visualize pior'; did you mean 'visualize prior'?"),
        (["xyz"], "there is no 'xyz'; verbs: train, eval, predict"),
        (["train", "--no-such"], "autoassign train: error: unrecognized arguments: --no-such"),
    ],
)
def test_wrong_verbs_and_arguments(capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err


@pytest.fixture
def ends_with(monkeypatch):
    """Let `autoassign doctor` return or raise something."""

    def set_outcome(outcome: object) -> None:
        def run(args: object) -> object:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(importlib.import_module("autoassign.cli.doctor"), "run", run)

    return set_outcome


@pytest.mark.parametrize(("outcome", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_that_of_the_verb(ends_with, outcome, status):
    ends_with(outcome)
    assert main(["doctor"]) == status


def test_an_interruption_is_no_traceback(ends_with, capsys):
    ends_with(KeyboardInterrupt())
    with pytest.raises(SystemExit, match="130"):
        main(["doctor"])
    assert capsys.readouterr().err == "interrupted\n"


def test_a_training_that_a_signal_stops_gives_its_message_and_status(ends_with, capsys):
    ends_with(TrainingStopped("continue with --resume", signal.SIGTERM))
    with pytest.raises(SystemExit, match="143"):
        main(["doctor"])
    assert capsys.readouterr().err == "continue with --resume\n"


def test_a_training_that_diverges_is_a_sentence_and_no_wrong_argument(ends_with, capsys):
    ends_with(FloatingPointError("loss_box is nan"))
    with pytest.raises(SystemExit, match="1"):
        main(["doctor"])
    assert capsys.readouterr().err == "autoassign doctor: error: loss_box is nan\n"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("SEED is wrong"), "SEED is wrong"),
        (FileNotFoundError("there is no x"), "there is no x"),
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied"),
        (ImportError("no torch"), "no torch; `autoassign doctor` checks the installation"),
    ],
)
def test_an_error_of_the_user_is_a_sentence(ends_with, capsys, error, sentence):
    ends_with(error)
    with pytest.raises(SystemExit, match="2"):
        main(["doctor"])
    assert capsys.readouterr().err == f"autoassign doctor: error: {sentence}\n"


def test_debug_prints_the_traceback(ends_with, capsys):
    ends_with(ValueError("wrong"))
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--debug"])
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("autoassign doctor: error: wrong\n")


def test_a_bug_is_a_traceback(ends_with):
    ends_with(RuntimeError("a bug"))
    with pytest.raises(RuntimeError):
        main(["doctor"])


def test_train_net_names_itself_in_errors():
    command = [sys.executable, ROOT / "train_net.py", "--no-such"]
    result = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert result.returncode == 2
    assert "train_net.py: error: unrecognized arguments: --no-such" in result.stderr


@pytest.fixture
def imports_kept(monkeypatch):
    """The environment, path and modules as they were before an import."""
    monkeypatch.setenv("AUTOASSIGN_IMPORT", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.usefixtures("imports_kept")
def test_a_module_of_the_current_folder_is_imported_here_and_in_children(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "my_strategy.py").write_text("print('registered')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "loss", "--import", "my_strategy", "--strategies", "NoSuch"])
    assert "registered" in capsys.readouterr().out
    child = "from autoassign.cli.imports import import_modules; import_modules()"
    assert run_python(child, cwd=tmp_path) == "registered\n"


@pytest.mark.usefixtures("imports_kept")
@pytest.mark.parametrize(
    ("code", "message"),
    [(None, "ModuleNotFoundError: No module named 'broken'"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch, capsys, code, message):
    if code:
        (tmp_path / "broken.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "loss", "--import", "broken"])
    assert f"error: --import broken: {message}" in capsys.readouterr().err


def test_an_installed_package_can_name_its_modules(tmp_path):
    (tmp_path / "my_package.py").write_text("print('registered')\n")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autoassign.strategies]\nmine = my_package\n")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r}); "
        "from autoassign.config import load_config; load_config('')"
    )
    assert run_python(code) == "registered\n"


def test_a_config_has_the_options_of_the_strategies_whatever_was_imported():
    code = (
        "from autoassign.config import load_config; "
        "cfg = load_config('ablations/table2_neither.yaml'); "
        "print(cfg.MODEL.LABEL_ASSIGNMENT.AUTOASSIGN.CENTER_WEIGHTING)"
    )
    assert run_python(code) == "none\n"

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from autoassign import get_config_file

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("configs/**/*.*")
    if path.suffix in (".yaml", ".py")
)
SOURCES = sorted(
    str(path.relative_to(ROOT / "projects"))
    for path in ROOT.glob("projects/autoassign/**/*.*")
    if path.suffix in (".py", ".html", ".css", ".js", ".typed")
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel, built from a copy: a build leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("configs", "projects"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("autoassign-*.whl"))


def test_wheel_has_every_module_and_config(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert CONFIGS
    assert {f"autoassign/{config}" for config in CONFIGS} <= names
    assert set(SOURCES) <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"autoassign"}


def test_unpacked_wheel_finds_its_configs(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import autoassign; print(autoassign.get_config_file({config_name(0)!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert Path(found.stdout.strip()) == tmp_path / "autoassign" / CONFIGS[0], found.stderr


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``autoassign`` as an installed wheel has it, with the packages of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel]
    subprocess.run([*install, "--no-index", "--quiet"], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = subprocess.check_output([python, "-c", code], text=True).strip()
    # Paths alone: the .pth files there, such as that of an editable install, are not read.
    others = [path for path in sys.path if path.endswith("-packages")]
    Path(site_packages, "others.pth").write_text("\n".join(others))
    return folder / "bin" / "autoassign"


@pytest.mark.parametrize("words", [["--help"], ["visualize", "--help"], ["doctor"]])
def test_installed_command_runs_outside_the_checkout(command: Path, tmp_path: Path, words):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [command, *words], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "visualize prior" in result.stdout or "All that is needed works" in result.stdout


def config_name(index: int) -> str:
    return str(Path(CONFIGS[index]).relative_to("configs"))


def test_checkout_finds_its_configs():
    assert Path(get_config_file(config_name(0))) == ROOT / CONFIGS[0]


def test_an_unknown_config_is_told_from_the_nearest():
    with pytest.raises(FileNotFoundError, match="nearest names are COCO-Detection/dsla_R_50"):
        get_config_file("COCO-Detection/dsla_R_50_FPN_2x.yaml")

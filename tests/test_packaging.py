import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autoassign import get_config_file

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("configs/**/*.yaml"))
SOURCES = sorted(
    str(path.relative_to(ROOT / "projects"))
    for path in ROOT.glob("projects/autoassign/**/*.*")
    if path.suffix in (".py", ".html", ".css", ".js")
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


def config_name(index: int) -> str:
    return str(Path(CONFIGS[index]).relative_to("configs"))


def test_checkout_finds_its_configs():
    assert Path(get_config_file(config_name(0))) == ROOT / CONFIGS[0]


def test_unknown_config_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match="COCO-Detection/no_such") as error:
        get_config_file("COCO-Detection/no_such.yaml")
    assert config_name(-1) in str(error.value)

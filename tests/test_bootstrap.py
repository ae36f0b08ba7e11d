import hashlib
import importlib.util
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.executable)


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def forged_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of detectron2's name and version, the only one that pip can find."""
    path = tmp_path / "links" / "sal_detectron2-0.7.2-cp310-none-any.whl"
    path.parent.mkdir()
    info = "sal_detectron2-0.7.2.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("detectron2/__init__.py", "")
        file.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: cp310-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def test_detectron2_of_another_hash_is_refused(
    bootstrap: ModuleType, forged_wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(subprocess.CalledProcessError):
        bootstrap.install_detectron2(PYTHON, tmp_path / "site")
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert not (tmp_path / "site" / "detectron2").exists()


def test_wheel_for_another_python_is_installed_when_its_hash_fits(
    bootstrap: ModuleType, forged_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", tmp_path)
    digest = hashlib.sha256(forged_wheel.read_bytes()).hexdigest()
    line = f"sal-detectron2==0.7.2 --hash=sha256:{digest}\n"
    (tmp_path / "detectron2.txt").write_text(line)
    bootstrap.install_detectron2(PYTHON, tmp_path / "site")
    assert (tmp_path / "site" / "detectron2" / "__init__.py").exists()


def test_new_environment_sees_the_packages_of_this_one(bootstrap: ModuleType, tmp_path: Path):
    venv.create(tmp_path / "new", with_pip=False)
    python = tmp_path / "new" / "bin" / "python"
    code = "import numpy; print(numpy.__file__)"
    assert subprocess.run([python, "-c", code], capture_output=True).returncode == 1
    bootstrap.show_packages_of_this_interpreter(python)
    assert subprocess.check_output([python, "-c", code], text=True).strip() == np.__file__


def test_versions_of_the_user_become_constraints(bootstrap: ModuleType):
    def package(name: str | None, version: str) -> SimpleNamespace:
        return SimpleNamespace(metadata={"Name": name}, version=version)

    packages = [
        package("torch", "2.4.0+cu121"),
        package("typing_extensions", "4.12.0"),
        package("typing-extensions", "4.9.0"),  # further down the path: hidden by the one above
        package(None, "1.0"),
        package("autoassign", "0.0.1"),
    ]
    expected = ["torch==2.4.0+cu121\n", "typing-extensions==4.12.0\n"]
    assert bootstrap.installed_versions(packages) == expected


def test_only_missing_requirements_are_installed(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    present = {"torch", "hydra-core"}
    monkeypatch.setattr(bootstrap, "has_distribution", lambda name: name in present)
    monkeypatch.setattr(bootstrap, "has_module", lambda name: name == "cv2")
    lines = [
        "# a comment",
        "-c build.txt",
        "",
        "torch==2.14.1",
        "hydra-core",
        "omegaconf<2.4",
        "opencv-python-headless",
    ]
    assert bootstrap.missing_requirements(lines) == ["omegaconf<2.4"]


def test_active_environment_is_not_taken_away(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(SystemExit, match="deactivate"):
        bootstrap.main([str(tmp_path)])
    assert tmp_path.exists()
